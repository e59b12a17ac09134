"""The flow, without Dagster. May import: core, policy, providers, storage, transport, ledger, media, tables.

The way of one row: `read` makes it a request or a problem. `plan` says what submitting it would do. `queue` keeps it
while its account has no room. `submit` claims it in the ledger, sends it and records the answer; `resolve` finds out
about a submit without an answer. `poll` asks the provider, `collect` stores video, poster and manifest in this order,
`check` judges the clip as it stands in the store. `generate` does all of this in one run that waits. `options` and
`session` are what every stage works with.
"""
