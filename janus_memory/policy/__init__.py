"""The built-in networks, their losses, slow copy and files, and what a user's own policy is asked (SPEC section 5)."""
