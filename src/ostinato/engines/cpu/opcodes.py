"""What the library's interface has numbers for: itself, and the opcodes, of which each number is a place."""

MAGIC, VERSION = 0x4F5354, 4  # as OST_MAGIC and OST_VERSION

OPCODES = (
    "copy", "neg", "abs", "sign", "floor", "ceil", "round", "relu", "exp", "expm1", "log", "log1p", "tanh", "sigmoid",
    "sqrt", "rsqrt", "reciprocal", "sin", "cos", "erf", "not", "truth", "add", "sub", "mul", "div", "maximum",
    "minimum", "pow", "gt", "ge", "lt", "le", "eq", "ne", "and", "or", "xor", "where", "muladd", "dtanh", "dsigmoid",
    "lerp", "submul",
)
NUMBER = {name: number for number, name in enumerate(OPCODES)}
