#pragma once

// Heard log: what goes to the default logger while this lives.

#include <spdlog/sinks/ringbuffer_sink.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <string>
#include <vector>

namespace viva::supervision::testing {

/// While no other thread logs it begins and ends.
class heard_log {
public:
  heard_log() {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("heard", x_heard));
  }
  heard_log(const heard_log&) = delete;
  ~heard_log() {
    spdlog::set_default_logger(x_before);
  }

  /// The lines with these words, in order.
  std::vector<std::string> lines_with(const std::string& words) const {
    auto lines = x_heard->last_formatted();
    std::erase_if(lines, [&](const auto& line) { return line.find(words) == std::string::npos; });
    return lines;
  }

private:
  std::shared_ptr<spdlog::sinks::ringbuffer_sink_mt> x_heard
    = std::make_shared<spdlog::sinks::ringbuffer_sink_mt>(256);
  std::shared_ptr<spdlog::logger> x_before = spdlog::default_logger();
};

} // namespace viva::supervision::testing
