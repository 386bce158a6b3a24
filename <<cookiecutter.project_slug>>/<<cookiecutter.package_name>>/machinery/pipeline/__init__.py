"""What has to run and why, the runs themselves, and every file that they write."""
