#pragma once

// Frame bytes: numbers and texts one after the other, as frames between processes of one machine
// carry them. Host order. The reader believes nothing: once something is missing it answers
// nothing any more, and says so.

#include "kernels/error.hpp"

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace viva::actors {

class frame_writer {
public:
  template <class T>
    requires std::is_arithmetic_v<T>
  void put(T value) {
    char raw[sizeof value];
    std::memcpy(raw, &value, sizeof value);
    x_out.append(raw, sizeof raw);
  }
  void put(const std::string& text) {
    put(static_cast<std::uint32_t>(text.size()));
    x_out += text;
  }
  void put(const error& what) {
    put(static_cast<std::uint8_t>(what.code));
    put(what.text);
  }
  void put_raw(const void* from, std::size_t count) {
    x_out.append(static_cast<const char*>(from), count);
  }
  std::string done() {
    return std::move(x_out);
  }

private:
  std::string x_out;
};

class frame_reader {
public:
  explicit frame_reader(std::string_view in) : x_in(in) {
  }
  template <class T>
    requires std::is_arithmetic_v<T>
  void take(T& value) {
    if (const auto raw = bytes(sizeof value); raw.size() == sizeof value)
      std::memcpy(&value, raw.data(), sizeof value);
  }
  void take(std::string& text) {
    std::uint32_t size = 0;
    take(size);
    text = bytes(size);
  }
  void take(error& what) {
    std::uint8_t code = 0;
    take(code);
    require(code <= static_cast<std::uint8_t>(errc::interrupted)); // the last one
    what.code = x_good ? static_cast<errc>(code) : errc::ok;
    take(what.text);
  }
  /// A count of things of at least `each` bytes; more than can follow is an error, not memory.
  std::uint32_t count(std::size_t each) {
    std::uint32_t number = 0;
    take(number);
    x_good = x_good && number <= x_in.size() / each;
    return x_good ? number : 0;
  }
  /// So many bytes, or none where they are not there.
  std::string_view bytes(std::size_t count) {
    x_good = x_good && count <= x_in.size();
    const auto taken = x_in.substr(0, x_good ? count : 0);
    x_in.remove_prefix(taken.size());
    return taken;
  }
  void require(bool claim) {
    x_good = x_good && claim;
  }
  bool good() const {
    return x_good;
  }
  bool whole() const {
    return x_good && x_in.empty();
  }

private:
  std::string_view x_in;
  bool x_good = true;
};

} // namespace viva::actors
