#pragma once

// A folder of its own for one test, removed at the end.

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

namespace viva::tests {

class temporary_folder {
public:
  temporary_folder() {
    auto name = (std::filesystem::temp_directory_path() / "viva-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr)
      throw std::runtime_error("cannot make a temporary folder");
    x_path = name;
  }
  ~temporary_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(x_path, ignored);
  }
  temporary_folder(const temporary_folder&) = delete;
  temporary_folder& operator=(const temporary_folder&) = delete;

  std::filesystem::path operator/(const std::filesystem::path& name) const {
    return x_path / name;
  }
  const std::filesystem::path& path() const noexcept {
    return x_path;
  }

private:
  std::filesystem::path x_path;
};

} // namespace viva::tests
