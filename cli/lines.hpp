#pragma once

// What a measurement tells line by line, to stdout and to a file. A measurement is not stopped by
// a line that nobody takes: the first error is kept and told at its end.

#include "kernels/error.hpp"

#include <fstream>
#include <string>
#include <string_view>

namespace viva::cli {

class lines {
public:
  /// Empties `file`; "": none.
  expected<void> open(const std::string& file);
  /// To stdout.
  void show(std::string_view text);
  /// To the file, with a line's end, if one was opened; there at once.
  void keep(std::string_view line);
  /// What the first line met that could not be written.
  expected<void> end() const {
    return x_done;
  }

private:
  std::string x_name;
  std::ofstream x_file;
  expected<void> x_done;
};

} // namespace viva::cli
