"""The opcodes of the machine: an opcode's number is its place."""

OPCODES = (
    "copy", "neg", "abs", "sign", "floor", "ceil", "round", "relu", "exp", "expm1", "log", "log1p", "tanh", "sigmoid",
    "sqrt", "rsqrt", "reciprocal", "sin", "cos", "erf", "not", "truth", "add", "sub", "mul", "div", "maximum",
    "minimum", "pow", "gt", "ge", "lt", "le", "eq", "ne", "and", "or", "xor", "where", "muladd", "dtanh", "dsigmoid",
    "lerp", "submul",
)
NUMBER = {name: number for number, name in enumerate(OPCODES)}
