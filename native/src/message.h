// What went wrong, in words, for the thread that called.
#pragma once

#include "ostinato.h"

namespace ostinato {

// Keeps the message for ost_message and returns the code.
int fail(ost_code code, const char* format, ...) __attribute__((format(printf, 2, 3)));

}  // namespace ostinato
