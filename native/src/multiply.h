// Large products over several threads.
#pragma once

#include "ostinato.h"

namespace ostinato {

// As ost_multiply.
int multiply(const ost_product& product);

}  // namespace ostinato
