"""Who runs a program, and how: the engines, the choice between them, and a loop as one differentiable operation."""
