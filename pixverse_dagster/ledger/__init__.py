"""The truth about money: SQLAlchemy and nothing else. May import: core, policy, providers."""
