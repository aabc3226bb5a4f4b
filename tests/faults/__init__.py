"""Attacks on the promise that nothing is ever lost: each one seeded, with a deadline, and counted."""
