#pragma once

// What the checks and figures of a device share.

#include "kernels/convert.hpp"
#include "kernels/device.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <vector>

namespace viva::bench {

[[noreturn]] inline void stop(const std::string& why) {
  std::fprintf(stderr, "viva_device_bench: %s\n", why.c_str());
  std::exit(3);
}

/// N(0, 0.02) of `type`, the same each time.
inline std::vector<std::byte> values_of(std::size_t count, kernels::dtype type) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> few(1 << 20);
  for (auto& x : few)
    x = normal(random);
  std::vector<std::byte> all(count * kernels::bytes_of(type));
  const std::size_t part = few.size() - 7; // each repeat begins elsewhere
  for (std::size_t i = 0; i < count; i += part)
    kernels::store_f32(few.data() + i / part % 7, type, std::min(part, count - i),
              all.data() + i * kernels::bytes_of(type));
  return all;
}

/// Milliseconds of `queued`, by events; the median of nine after two that do not count.
inline double milliseconds(kernels::device_stream& stream, const std::function<void(int)>& queued) {
  std::vector<double> all;
  for (int i = 0; i < 11; ++i) {
    stream.mark();
    queued(i);
    stream.mark();
    if (stream.finish() != 0)
      stop("a kernel failed while it was timed");
    if (i >= 2)
      all.push_back(stream.between_marks());
  }
  std::ranges::nth_element(all, all.begin() + 4);
  return all[4];
}

/// Rows of long sequences against double; 0 where all are within the bound, else 1.
int check_attention();
/// JSON lines, and a table on stderr.
void attention_speed(kernels::device_stream& stream);

} // namespace viva::bench
