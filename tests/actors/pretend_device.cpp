// A program of lanes whose devices are made up, so that what lanes do with devices is tested where
// there is none. They compute by the references; what is wrong with one is in its number.
//
// VIVA_TEST_DEVICE is a folder to count in, one byte an event: `lives` of device lanes, `asked`
// those whose device was asked for a shard, `left` those of which was warned that they are not used
// any more, which the test counts. Lanes of the processor do not write before as many were asked as
// the file `wait` there has bytes, and as many left as `wait-left` has.

#include "actors/known_answer.hpp"
#include "actors/lane_process.hpp"
#include "kernels/metrics.hpp"
#include "supervision/death.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

using namespace viva;
using namespace viva::actors;
using namespace viva::kernels;

namespace {

enum kind { honest, absent, wrong, sticky_at_once, sticky_too_late, short_of_memory, lost };

bool has_device = false;

std::string place(const char* name) {
  const char* folder = std::getenv("VIVA_TEST_DEVICE");
  return folder == nullptr ? std::string() : std::string(folder) + "/" + name;
}

void count(const char* name) {
  const int fd = ::open(place(name).c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600);
  if (fd >= 0 && ::write(fd, "x", 1) == 1)
    ::close(fd);
}

off_t counted(const char* name) {
  struct stat info {};
  return ::stat(place(name).c_str(), &info) == 0 ? info.st_size : 0;
}

class made_up final : public device_at_work {
public:
  explicit made_up(int which) : x_which(which) {
  }
  /// Known answers are asked for without sums.
  status encode(const recipe& with, const matrix& in, const tensor_numbers& numbers,
                std::span<std::byte* const> out, error_sums* sums) override {
    if (sums != nullptr) {
      if (const auto bad = misbehave(); !bad)
        return bad;
    }
    const auto done = encode_and_measure(with, in, numbers, out, sums, path::reference);
    if (done && (x_which == wrong || (x_which == sticky_too_late && sums != nullptr)))
      *out[0] ^= std::byte{1};
    return done;
  }
  status decode(const recipe& with, std::size_t rows, std::size_t cols,
                const tensor_numbers& numbers, std::span<const std::byte* const> in,
                float* out) override {
    if (const auto bad = misbehave(); !bad)
      return bad;
    return with.row->decode_reference(with, rows, cols, numbers, in, out);
  }
  status survey(const recipe& with, const matrix& in, kernels::survey& found) override {
    return with.row->survey_run(with, in, found);
  }
  int error() const override {
    return x_error;
  }
  int finish() override {
    return x_error;
  }

private:
  status misbehave() {
    if (!std::exchange(x_asked, true))
      count("asked");
    if (x_which == short_of_memory)
      return {errc::over_budget};
    if (x_which == sticky_at_once || x_which == sticky_too_late)
      x_error = 700; // illegal address
    if (x_which == lost)
      x_error = 214; // ECC, uncorrectable
    return {x_error == 0 || x_which == sticky_too_late ? errc::ok : errc::fault};
  }

  int x_which, x_error = 0;
  bool x_asked = false;
};

std::unique_ptr<device_at_work> open_made_up(int number) {
  count("lives");
  if (number == absent)
    throw device_ended(supervision::exit_words::device_lost, "no such device");
  return std::make_unique<made_up>(number);
}

/// Lanes of the processor would be done before a device is ready.
ssize_t write_at(int fd, const void* from, size_t bytes, off_t at) {
  const auto early = [] {
    return counted("asked") < counted("wait") || counted("left") < counted("wait-left");
  };
  static int left = 2'000; // of all waits together: where nothing comes, the test fails soon
  for (; !has_device && early() && left > 0; --left)
    ::poll(nullptr, 0, 10);
  return ::syscall(SYS_pwrite64, fd, from, bytes, at);
}

} // namespace

extern "C" ssize_t pwrite(int fd, const void* from, size_t bytes, off_t at) {
  return write_at(fd, from, bytes, at);
}
extern "C" ssize_t pwrite64(int fd, const void* from, size_t bytes, off_t at) {
  return write_at(fd, from, bytes, at);
}

int main(int words, char** argv) {
  has_device = words == 4;
  return words == 4   ? run_device_lane(std::atoi(argv[3]), open_made_up)
         : words == 2 ? run_lane_process()
                      : supervision::exit_words::misconfigured; // no nursery
}
