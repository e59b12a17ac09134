"""The providers' APIs, one file each."""
