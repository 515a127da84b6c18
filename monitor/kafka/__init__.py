"""What every Kafka connection shares: clients, logins, checks."""
