"""The same work, in one run, on Orthanc asked directly and on OpenPriors with authorization, consent and audit on."""
