#include "actors/job_view.hpp"

#include "actors/journal_file.hpp"

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
  job_status status;
  status.fingerprint = std::move(journal->fingerprint);
  status.shards_durable = journal->done.size();
  status.shards_total = number_in(status.fingerprint, "shards");
  status.state = is_claimed(name) ? job_state::running : job_state::interrupted;
  if (status.state == job_state::running) {
    status.next = "wait, or look into it: viva tree " + output.string();
    return status;
  }
  const auto bytes = fs::file_size(name, why);
  status.torn_bytes = why || bytes < journal->good_bytes ? 0 : bytes - journal->good_bytes;
  status.next = partial ? "run the same command again: it computes only what is not durable"
                        : "run the same command again: it starts anew, the partial output is gone";
  return status;
}

} // namespace viva
