#include "message.h"

#include <cstdarg>
#include <cstdio>

namespace ostinato {
namespace {
thread_local char message[512];
}

int fail(ost_code code, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  return code;
}

}  // namespace ostinato

const char* ost_message(void) { return ostinato::message; }
