"""What the scenarios stand on: a real Redis, the real daemon, a raw client, and ways to wait for events."""
