"""The tables of catalog and log (SQLAlchemy Core, one MetaData for the whole system).

Instants are BIGINT microseconds since the Unix epoch, in UTC. Dates and times of DICOM attributes are kept as the
DA/TM text when it parses and as NULL when it does not. An attribute that is missing, empty or unparsable is NULL.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts rows only in a column of exactly this type; PostgreSQL gets a BIGINT identity.
Key = BigInteger().with_variant(Integer(), "sqlite")

store_identity = Table(
    "store_identity",
    metadata,
    Column("name", Text, primary_key=True),  # store, schema
    Column("value", Text, nullable=False),
)

epoch = Table(
    "epoch",
    metadata,
    Column("name", Text, primary_key=True),  # global
    Column("value", BigInteger, nullable=False),
)

patient = Table(
    "patient",
    metadata,
    Column("id", Key, primary_key=True),
    Column("issuer", Text, nullable=False),  # assigning authority; default_issuer where a file has none
    Column("patient_id", Text, nullable=False),
    Column("state", Text, nullable=False, default="known"),  # known | suspended (an identity change is unconfirmed)
    UniqueConstraint("issuer", "patient_id"),
)

study = Table(
    "study",
    metadata,
    Column("id", Key, primary_key=True),
    Column("study_instance_uid", Text, nullable=False, unique=True),
    Column("patient", Key, ForeignKey("patient.id")),  # NULL: no usable PatientID, so no permit reaches it
    Column("patient_id", Text),
    Column("issuer", Text),
    Column("patient_name", Text),  # PN as decoded: alphabetic=ideographic=phonetic
    Column("patient_name_key", Text),  # folded for matching: storage/person_name.py
    Column("patient_birth_date", Text),
    Column("patient_sex", Text),
    Column("study_date", Text),
    Column("study_time", Text),
    Column("accession_number", Text),
    Column("referring_physician_name", Text),
    Column("referring_physician_name_key", Text),
    Column("study_id", Text),
    Column("study_description", Text),
    Column("timezone_offset", Text),
    Column("fragment", LargeBinary, nullable=False),  # DICOM JSON lines of the patient and study modules
    Column("received_at", BigInteger, nullable=False),
    Column("available_since", BigInteger, nullable=False),
    Column("guaranteed_until", BigInteger, nullable=False),
    Column("purge_after", BigInteger),
    Column("state", Text, nullable=False),  # online | withdrawn | tombstoned | purging | purged | lost
    Column("revision", BigInteger, nullable=False, default=1),
    Index(None, "patient", "study_date"),
    Index(None, "study_date", "id"),
    Index(None, "patient_id"),
    Index(None, "accession_number"),
    Index(None, "patient_name_key", postgresql_ops={"patient_name_key": "text_pattern_ops"}),  # serves LIKE 'begin%'
    Index(None, "patient_birth_date"),
)
# the order of every search; PostgreSQL reads it from an index only where the index says where NULLs stand
Index("ix_study_newest", study.c.study_date.desc().nulls_last(), study.c.id.desc()).ddl_if(dialect="postgresql")

series = Table(
    "series",
    metadata,
    Column("id", Key, primary_key=True),
    Column("study", Key, ForeignKey("study.id"), nullable=False, index=True),
    Column("series_instance_uid", Text, nullable=False, unique=True),
    Column("modality", Text),
    Column("series_number", BigInteger),
    Column("series_description", Text),
    Column("performed_procedure_step_start_date", Text),
    Column("performed_procedure_step_start_time", Text),
    Column("sensitivity", Integer),  # bits of consent/model.py Sensitivity; NULL: nobody has labelled it
    Column("fragment", LargeBinary, nullable=False),  # DICOM JSON lines of the series module
    Column("instance_count", Integer, nullable=False, default=0),
    Column("revision", BigInteger, nullable=False, default=1),
    Column("changed_at", BigInteger, nullable=False),
)

request_attribute = Table(
    "request_attribute",
    metadata,
    Column("id", Key, primary_key=True),
    Column("series", Key, ForeignKey("series.id"), nullable=False, index=True),
    Column("scheduled_procedure_step_id", Text, index=True),
    Column("requested_procedure_id", Text, index=True),
)

instance = Table(
    "instance",
    metadata,
    Column("id", Key, primary_key=True),
    Column("series", Key, ForeignKey("series.id"), nullable=False),
    Column("sop_instance_uid", Text, nullable=False, unique=True),
    Column("sop_class_uid", Text, nullable=False),
    Column("instance_number", BigInteger),
    Column("rows", Integer),
    Column("columns", Integer),
    Column("bits_allocated", Integer),
    Column("number_of_frames", BigInteger),
    Column("transfer_syntax_uid", Text, nullable=False),
    Column("archive_id", Text, nullable=False),
    Column("locator", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),  # SHA-256 of the Part 10 file
    Column("data_set_digest", LargeBinary, nullable=False),  # SHA-256 without preamble and File Meta Information
    Column("data_set_offset", BigInteger, nullable=False),
    Column("chunk_crcs", LargeBinary, nullable=False),
    Column("frames", LargeBinary),  # storage/frames.py
    Column("bulk", LargeBinary),  # storage/bulk.py: attribute path -> bytes of the file
    Column("fragment", LargeBinary, nullable=False),  # deflated DICOM JSON lines without what the study fragment says
    Column("received_at", BigInteger, nullable=False),
    Column("state", Text, nullable=False),  # online | corrupt | missing
    Index(None, "series", "instance_number", "id"),
    Index(None, "digest"),
)

series_document = Table(
    "series_document",
    metadata,
    Column("series", Key, ForeignKey("series.id"), primary_key=True),
    Column("base", Text, primary_key=True),  # public base URL written into its BulkDataURIs
    Column("revision", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),  # raw deflate, ended by a full flush: storage/document.py
    Column("crc32", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),  # of the text, uncompressed
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Key, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("locator", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sop_instance_uid", Text),
    Column("reason", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("state", Text, nullable=False),  # held | released | discarded
)

hold = Table(
    "hold",
    metadata,
    Column("id", Key, primary_key=True),
    Column("study", Key, ForeignKey("study.id"), nullable=False, index=True),
    Column("reason", Text, nullable=False),
    Column("placed_by", Text, nullable=False),
    Column("placed_at", BigInteger, nullable=False),
    Column("lifted_at", BigInteger),
)

log_node = Table(
    "log_node",
    metadata,
    Column("node", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),  # of the node's last event
    Column("head", LargeBinary, nullable=False),  # the node's hash chain up to it
)

log_event = Table(
    "log_event",
    metadata,
    Column("node", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),  # gapless from 1
    Column("body", LargeBinary, nullable=False),  # canonical JSON (RFC 8785) of the event, commitments for identifiers
    Column("chain", LargeBinary, nullable=False),  # SHA-256 over the previous chain value and the leaf hash
    Column("leaf", BigInteger, unique=True),  # index in the tree; NULL until sequenced
)

log_opening = Table(
    "log_opening",
    metadata,
    Column("node", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("field", Text, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),  # salt and value, encrypted with a key outside the data directory
)

log_subject = Table(
    "log_subject",
    metadata,
    # finds the events about a patient, study, facility or consent without opening every one
    Column("subject", LargeBinary, primary_key=True),  # keyed hash of kind and identifier
    Column("node", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
)

log_open = Table(
    "log_open",
    metadata,
    # intents whose outcome has not been written: what a crash leaves behind
    Column("request", Text, primary_key=True),
    Column("node", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("process", Text, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
)

log_tree = Table(
    "log_tree",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="single"), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("frontier", LargeBinary, nullable=False),  # the roots of the full subtrees, left to right
    Column("checkpoint", Text, nullable=False),  # the last signed note
    Column("fence", BigInteger, nullable=False),  # grows with every sequencing; an older sequencer is refused
)
