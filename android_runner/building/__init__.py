"""How the native runner comes into being: for this machine, for a phone, for any other install."""
