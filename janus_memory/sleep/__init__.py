"""The sleep cycle: five resumable phases over a frozen input (SPEC section 9)."""
