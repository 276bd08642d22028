#pragma once

// Real processes for tests to guard.

#include "tests/support/witness.hpp"

namespace viva::supervision::testing {

inline process_options ward_options(const std::string& mode = "obey") {
  process_options options;
  options.command = {VIVA_TEST_WARD, mode};
  options.ready_words = "test ward";
  return options;
}

} // namespace viva::supervision::testing
