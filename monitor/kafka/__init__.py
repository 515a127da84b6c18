"""What all Kafka connections share: clients, logins, checks."""
