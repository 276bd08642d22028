#pragma once

// One method on one buffer: source rows of N(0, 0.02), room for its planes and for decoded rows,
// and its operations on a part of the rows, so that threads can share one stream.

#include "kernels/awq_search.hpp"
#include "kernels/registry.hpp"

#include <cstdlib>
#include <memory>
#include <vector>

namespace viva::bench {

/// Bytes at an address of 4096, touched, so that no page is made while the clock runs.
class buffer {
public:
  explicit buffer(std::size_t bytes);
  std::byte* data() const noexcept {
    return x_data.get();
  }
  std::size_t size() const noexcept {
    return x_size;
  }

private:
  struct release {
    void operator()(std::byte* at) const noexcept {
      std::free(at);
    }
  };
  std::size_t x_size;
  std::unique_ptr<std::byte, release> x_data;
};

/// Columns of every benchmark's rows, a usual width of a weight.
inline constexpr std::size_t bench_cols = 4096;

/// Source and room for decoded values: made once for a size and shared by all methods.
struct arena {
  arena(std::uint64_t values, kernels::dtype);
  kernels::matrix source() const noexcept {
    return {x_source.data(), x_type, x_rows, bench_cols};
  }
  std::byte* source_bytes() const noexcept {
    return x_source.data();
  }
  std::size_t source_size() const noexcept {
    return x_rows * bench_cols * kernels::bytes_of(x_type);
  }
  float* decoded() const noexcept {
    return reinterpret_cast<float*>(x_decoded.data());
  }

private:
  kernels::dtype x_type;
  std::size_t x_rows;
  buffer x_source, x_decoded;
};

/// `scales`: awq's search for the scales of columns, both passes, 21 candidates.
enum class operation : std::uint8_t { encode, measure, decode, survey, scales };
const char* to_string(operation) noexcept;

class workbench {
public:
  workbench(const kernels::recipe&, const arena&);

  /// Surveys and encodes all, so that decode has something to read, and makes the scales to try.
  /// Says what was refused.
  status prepare();
  /// Runs the operation on part `part` of `parts` of the first `rows` rows.
  void run(operation, kernels::path, std::size_t rows, unsigned part, unsigned parts);

  std::size_t rows() const noexcept {
    return x_in.rows;
  }
  /// Fewest rows that can be run alone.
  std::size_t grain() const noexcept {
    return x_grain;
  }
  /// Bytes of the planes of `rows` rows.
  std::uint64_t plane_bytes(std::size_t rows) const;
  bool has(operation) const noexcept;

private:
  status prepare_scales();
  status run_scales(const kernels::matrix& in, bool fast) const;

  kernels::recipe x_with;
  kernels::matrix x_in;
  float* x_decoded;
  kernels::geometry x_shape;
  std::size_t x_grain;
  kernels::tensor_numbers x_numbers;
  std::vector<buffer> x_planes;
  kernels::awq::scale_table x_scales; ///< Empty where there is nothing to search.
};

} // namespace viva::bench
