"""Many jobs: settings searched and scored, projects run from a table, here or on a Dask cluster, resumable."""
