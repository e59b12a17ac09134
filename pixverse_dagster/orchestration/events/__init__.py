"""What people see in Dagster: each submission, outcome and stored clip as an event on its row's partition."""
