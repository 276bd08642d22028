#include "kernels/transpose.hpp"
#include "tests/support/catch.hpp"

#include <algorithm>
#include <vector>

namespace viva::kernels::testing {

TEST_CASE("transpose moves every element to its place and touches nothing else", "[transpose]") {
  for (const std::size_t element : {2, 4})
    for (const std::size_t rows : {0, 1, 5, 32, 33, 100})
      for (const std::size_t cols : {0, 1, 7, 31, 64, 65}) {
        const std::size_t in_pitch = cols * element + 3, out_pitch = rows * element + 5;
        std::vector<std::byte> in(1 + rows * in_pitch), out(1 + cols * out_pitch, std::byte{0x5A});
        for (std::size_t i = 0; i < in.size(); ++i)
          in[i] = static_cast<std::byte>(i * 7 % 251);
        auto wanted = out;
        for (std::size_t r = 0; r < rows; ++r)
          for (std::size_t c = 0; c < cols; ++c)
            std::copy_n(&in[1 + r * in_pitch + c * element], element,
                        &wanted[1 + c * out_pitch + r * element]);
        transpose({in.data() + 1, in_pitch}, rows, cols, element, {out.data() + 1, out_pitch});
        INFO(rows << " x " << cols << " of " << element);
        REQUIRE(out == wanted);
      }
}

} // namespace viva::kernels::testing
