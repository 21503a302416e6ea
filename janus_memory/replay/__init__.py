"""Sharp-wave-ripple replay: priorities, draws and the compiled learner (SPEC section 3)."""
