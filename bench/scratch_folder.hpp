#pragma once

// A folder in TMPDIR, removed with all that is in it.

#include "kernels/error.hpp"

#include <filesystem>
#include <utility>

#include <stdlib.h>

namespace viva::bench {

class scratch_folder {
public:
  static expected<scratch_folder> make() {
    auto name = (std::filesystem::temp_directory_path() / "viva-bench-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr)
      return fail(errc::cannot_write, name + ": cannot make a temporary folder; set TMPDIR");
    return scratch_folder(name);
  }
  scratch_folder(scratch_folder&& from) noexcept : x_where(std::exchange(from.x_where, {})) {
  }
  scratch_folder& operator=(scratch_folder&&) = delete;
  ~scratch_folder() {
    std::error_code ignored;
    if (!x_where.empty())
      std::filesystem::remove_all(x_where, ignored);
  }
  const std::filesystem::path& path() const noexcept {
    return x_where;
  }

private:
  explicit scratch_folder(std::filesystem::path where) : x_where(std::move(where)) {
  }
  std::filesystem::path x_where;
};

} // namespace viva::bench
