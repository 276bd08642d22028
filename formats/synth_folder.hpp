#pragma once

// The folder a synthetic checkpoint grows in: files under *.partial names until all are durable,
// and nothing left behind where the work did not end well.

#include "kernels/error.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace viva::formats {

/// A file that grows under NAME.partial. Closes itself; removes itself where it was not published.
class partial_file {
public:
  explicit partial_file(std::filesystem::path final_name);
  partial_file(partial_file&&) noexcept;
  partial_file& operator=(partial_file&&) = delete;
  ~partial_file();

  /// Makes the file and reserves its space, so that a full disk shows now.
  expected<void> make(std::uint64_t bytes);
  /// 0, or what the system said. From any thread.
  int write(std::uint64_t offset, const char* from, std::uint64_t count) const noexcept;
  expected<void> sync() const;
  expected<void> publish();

  std::filesystem::path partial() const;
  const std::filesystem::path& final_name() const noexcept {
    return x_final;
  }

private:
  std::filesystem::path x_final;
  int x_descriptor = -1;
  bool x_made = false;
};

class synth_folder {
public:
  /// Makes the folder, or takes one that is empty but for what a killed run left (which is
  /// removed), or any with `overwrite`. Refuses one that another process writes into.
  static expected<synth_folder> take(const std::filesystem::path& folder, bool overwrite);

  synth_folder(synth_folder&&) noexcept;
  synth_folder& operator=(synth_folder&&) = delete;
  /// Removes the folders it made, where nothing lies in them.
  ~synth_folder();

  /// Gives durable files their names, makes the names durable, and only then removes the weights of
  /// an earlier checkpoint that `files` did not replace.
  expected<void> publish(std::vector<partial_file>& files);

private:
  synth_folder() = default;
  expected<void> make();
  expected<void> lock();
  expected<void> check_empty(bool overwrite) const;
  void remove_leftovers() const;

  std::filesystem::path x_path;
  std::vector<std::filesystem::path> x_made; ///< Outermost first.
  int x_descriptor = -1;                     ///< Of the folder, holding its lock.
};

/// An error of the output: `disk_full` or `cannot_write`.
tl::unexpected<error> cannot(std::string_view doing, const std::filesystem::path& path, int code);

} // namespace viva::formats
