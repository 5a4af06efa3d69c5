"""Recommenders without parameters of users: what somebody took says what else to show."""
