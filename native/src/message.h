// What went wrong, in words, for the thread that called.
#pragma once

#include <exception>
#include <new>

#include "ostinato.h"

namespace ostinato {

// Keeps the message for ost_message and returns the code.
int fail(ost_code code, const char* format, ...) __attribute__((format(printf, 2, 3)));

// No exception leaves the library.
template <class Body>
int guarded(Body&& body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return fail(OST_MEMORY, "no memory");
  } catch (const std::exception& error) {
    return fail(OST_INVALID, "%s", error.what());
  }
}

}  // namespace ostinato
