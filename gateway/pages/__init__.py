"""The staff pages: HTML rendered here, with no script, no outside resource and no patient data in any address."""
