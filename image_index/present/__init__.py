"""Results to text: each module turns records into strings, and prints nothing."""
