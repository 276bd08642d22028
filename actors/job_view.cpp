#include "actors/job_view.hpp"

#include "actors/output_claim.hpp"
#include "actors/workplace.hpp"

#include <algorithm>
#include <charconv>
#include <fcntl.h>
#include <unistd.h>

namespace viva {
namespace {

namespace fs = std::filesystem;
using namespace actors;

/// True while a job holds its claim (output_claim.hpp), whatever process or container it is in.
/// Asks without taking the lock: a job that starts just now must not be refused for our looking.
bool is_claimed(const fs::path& journal) {
  const descriptor file{::open(journal.c_str(), O_RDONLY | O_CLOEXEC)};
  struct flock whole {};
  whole.l_type = F_WRLCK;
  return file.get() >= 0 && ::fcntl(file.get(), F_OFD_GETLK, &whole) == 0
         && whole.l_type != F_UNLCK;
}

std::uint64_t number_in(const std::map<std::string, std::string>& print, const char* key) {
  const auto found = print.find(key);
  std::uint64_t number = 0;
  if (found != print.end())
    std::from_chars(found->second.data(), found->second.data() + found->second.size(), number);
  return number;
}

job_status without_journal(bool partial) {
  job_status status;
  if (partial) {
    status.state = job_state::untrusted;
    status.next = "remove the .partial output, or run the job again with --overwrite";
    return status;
  }
  status.next = "nothing to do";
  return status;
}

std::vector<struck_shard> struck_in(const journal_content& journal) {
  std::map<std::uint32_t, struck_shard> all;
  for (const auto& record : journal.strikes)
    all[record.shard].reasons.push_back(record.reason);
  for (const auto& record : journal.quarantined) {
    auto& found = all[record.shard];
    found.quarantined = true;
    found.place = record.place;
    found.source_checksum = record.source_checksum;
    if (found.reasons.empty())
      found.reasons = record.reasons;
  }
  std::vector<struck_shard> result;
  for (auto& [shard, found] : all) {
    found.shard = shard;
    result.push_back(std::move(found));
  }
  return result;
}

/// True where the job said why it failed, and not only that it was told to stop.
bool has_failed(const job_status& status) {
  return !status.ended.empty() && status.ended != to_string(errc::interrupted);
}

/// What to do about a job that nobody works on.
std::string next_of(const job_status& status, bool partial) {
  if (!partial)
    return "run the same command again: it starts anew, the partial output is gone";
  const std::string again = has_failed(status)
                              ? "mend what ended it, then run the same command again"
                              : "run the same command again";
  const auto quarantined = static_cast<std::uint64_t>(
    std::ranges::count_if(status.struck, &struck_shard::quarantined));
  if (quarantined == 0)
    return again + ": it computes only what is not durable";
  const bool rest_is_done = status.shards_durable + quarantined == status.shards_total;
  return (rest_is_done ? "" : again + " for what is not durable; ")
         + "with --retry-quarantined it runs the shards in quarantine, too, which makes sense when "
           "what killed their lanes is mended";
}

} // namespace

expected<job_status> status_of(const fs::path& output) {
  std::error_code why;
  const auto name = journal_path(output);
  const bool partial = fs::exists(partial_path(output), why);
  if (!fs::exists(name, why)) {
    if (!partial && !fs::exists(output, why))
      return fail(errc::unreadable, output.string()
                                      + ": no output, no partial output and no journal; name the "
                                        "output as it was given to the job");
    return without_journal(partial);
  }
  auto journal = read_journal(name);
  if (!journal)
    return tl::unexpected(journal.error());
  const bool named = is_named(real_disk(), output, *journal);
  job_status status;
  status.lives = journal->end.life;
  status.struck = struck_in(*journal);
  status.fingerprint = std::move(journal->fingerprint);
  status.shards_durable = journal->done.size();
  status.shards_total = number_in(status.fingerprint, "shards");
  status.state = is_claimed(name) ? job_state::running : job_state::interrupted;
  if (status.state == job_state::running) {
    status.next = "wait, or look into it: viva tree " + output.string();
    return status;
  }
  const auto bytes = fs::file_size(name, why);
  status.torn_bytes = why || bytes < journal->end.bytes ? 0 : bytes - journal->end.bytes;
  if (named) { // it was killed between giving the name and removing its journal
    status.state = job_state::done;
    status.next = "nothing to do; the same command, or you, may remove " + name.string()
                  + (partial && journal->naming->replaces
                       ? " and the output that was replaced, " + partial_path(output).string()
                       : "");
    return status;
  }
  if (journal->closing) {
    status.ended = journal->closing->code;
    status.why = journal->closing->words;
  }
  if (has_failed(status) || std::ranges::any_of(status.struck, &struck_shard::quarantined))
    status.state = job_state::failed;
  status.next = next_of(status, partial);
  return status;
}

} // namespace viva
