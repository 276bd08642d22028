#include "supervision/reason.hpp"

#include <caf/atom.hpp>
#include <caf/deep_to_string.hpp>
#include <caf/exit_reason.hpp>
#include <caf/message.hpp>
#include <caf/sec.hpp>

#include <array>

namespace viva::supervision {
namespace {

constexpr caf::atom_value category = caf::atom("vivafault");

struct fault_row {
  std::string_view name;
  blame whom = blame::nobody;
  tally counted = tally::restart;
};

// By number. A hang is blamed on the lane and not on its work: the heart is a thread of its own,
// which work cannot hold up. Another build counts: it does not become ours by waiting.
constexpr std::array<fault_row, 36> faults{{
  {"none"},
  {"exception", blame::work},
  {"shutdown"},
  {"intensity", blame::lane},
  {"abandoned", blame::work},
  {"start_failed", blame::lane},
  {"start_timed_out", blame::lane},
  {"ignored"},
  {"bad_spec"},
  {"bad_options"},
  {"already_started"},
  {"already_present"},
  {"not_found"},
  {"running"},
  {"restarting"},
  {"simple_one_for_one"},
  {"no_process"},
  {"timed_out"},
  {"name_taken"},
  {"crash", blame::work},
  {"aborted", blame::work},
  {"oom", blame::work, tally::memory},
  {"hang", blame::lane},
  {"stalled", blame::work},
  {"protocol", blame::lane},
  {"early_exit", blame::lane},
  {"killed"},
  {"device_sticky", blame::work},
  {"device_lost", blame::device, tally::none},
  {"bad_input", blame::work, tally::none},
  {"io", blame::machine, tally::none},
  {"temporary", blame::nobody, tally::none},
  {"fenced", blame::nobody, tally::none},
  {"misconfigured", blame::machine},
  {"exit_code", blame::work},
  {"node_lost"},
}};
static_assert(faults.size() == static_cast<std::size_t>(fault::node_lost) + 1);

std::string exit_text(caf::exit_reason reason) {
  switch (reason) {
    case caf::exit_reason::normal:
      return "normal";
    case caf::exit_reason::user_shutdown:
      return "shutdown";
    case caf::exit_reason::kill:
      return "killed";
    default:
      return to_string(reason);
  }
}

} // namespace

std::string_view to_string(fault code) noexcept {
  return faults.at(static_cast<std::size_t>(code)).name;
}

caf::error make_error(fault code, std::string text) {
  const auto number = static_cast<std::uint8_t>(code);
  if (text.empty())
    return {number, category};
  return {number, category, caf::make_message(std::move(text))};
}

bool is(const caf::error& reason, fault code) noexcept {
  return reason && reason.category() == category
         && reason.code() == static_cast<std::uint8_t>(code);
}

ending ending_of(const caf::error& reason) noexcept {
  if (!reason)
    return ending::normal;
  const bool told = reason == caf::exit_reason::user_shutdown || is(reason, fault::shutdown);
  return told ? ending::shutdown : ending::abnormal;
}

blame blame_of(const caf::error& reason) noexcept {
  if (!reason)
    return blame::nobody;
  if (reason.category() == category)
    return faults.at(reason.code()).whom;
  // What CAF itself says of a handler that threw; its exits are orders.
  return reason == caf::sec::runtime_error ? blame::work : blame::nobody;
}

tally counted_as(const caf::error& reason) noexcept {
  return reason && reason.category() == category ? faults.at(reason.code()).counted
                                                 : tally::restart;
}

std::string_view to_string(blame whom) noexcept {
  constexpr std::array<std::string_view, 5> words{"nobody", "work", "lane", "device", "machine"};
  return words.at(static_cast<std::size_t>(whom));
}

std::string to_text(const caf::error& reason) {
  if (!reason)
    return "normal";
  std::string text;
  if (reason.category() == category)
    text = to_string(static_cast<fault>(reason.code()));
  else if (reason.category() == caf::atom("exit"))
    return exit_text(static_cast<caf::exit_reason>(reason.code()));
  else if (reason.category() == caf::atom("system"))
    text = to_string(static_cast<caf::sec>(reason.code()));
  else
    text = caf::to_string(reason.category()) + " " + std::to_string(reason.code());
  const auto& context = reason.context();
  if (context.match_elements<std::string>())
    text += ": " + context.get_as<std::string>(0);
  else if (!context.empty())
    text += ": " + caf::deep_to_string(context);
  return text;
}

plain_reason plain(const caf::error& reason) {
  if (!reason || reason.category() != category)
    return {0, to_text(reason)};
  const auto& context = reason.context();
  return {reason.code(),
          context.match_elements<std::string>() ? context.get_as<std::string>(0) : std::string{}};
}

caf::error reason_of(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const std::exception& e) {
    return make_error(fault::exception, e.what());
  } catch (...) {
    return make_error(fault::exception, "not a std::exception");
  }
}

} // namespace viva::supervision
