#pragma once

// Job door: how another process of the same user looks into a running job.
//
// The job listens on a socket of Linux's abstract namespace, "viva-job-PID-N": no file that could
// be left behind, gone with the process, seen only inside its network namespace. Whoever connects
// and is the same user or root is sent one JSON document, then the connection ends. The document
// comes from the census and from counters, so no lane, conductor or supervisor is asked or waited
// for.
//
//   {"pid", "job", "output", "shards_done", "shards_total", "bytes_done", "bytes_total", "seconds",
//    "tree": [supervision/census.hpp], "text": the tree as lines}

#include "actors/messages.hpp"
#include "actors/tree.hpp"
#include "actors/workplace.hpp"

#include <filesystem>
#include <functional>
#include <string>
#include <thread>

namespace viva::actors {

/// The document, from the census and from counters alone: any thread, any time.
std::string describe(const tree& lives, const job_site& site, const std::filesystem::path& output,
                     double seconds);

class job_door {
public:
  /// `describe` makes the document; it is called from the door's thread until the door is gone. A
  /// door that cannot be opened is logged: no job fails for want of an onlooker.
  explicit job_door(std::function<std::string()> describe);
  ~job_door();
  job_door(const job_door&) = delete;
  job_door& operator=(const job_door&) = delete;

private:
  void serve();
  void answer(int client);

  std::function<std::string()> x_describe;
  descriptor x_listens, x_ends;
  std::thread x_thread;
};

} // namespace viva::actors
