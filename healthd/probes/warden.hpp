// Runs one program under a warden: a process of ours between the daemon and the program, which sees to it that nothing
// of the program survives. The warden is what orphans below it fall to (PR_SET_CHILD_SUBREAPER), so that children which
// left the program's process group or session are found, too; it kills them all when the program has ended, when it is
// told to (SIGTERM), and when the daemon died (PR_SET_PDEATHSIG). Only a process that root itself moves out of the
// warden's reach escapes. Kept apart from the probe, as a warden may still clean up when the verdict is long known.
//
// The program gets: the arguments given, /dev/null (or a file of the caller's) as input, its output and errors in one
// pipe, working directory /, umask 022, default signals, 1024 open files, no other descriptor, a session of its own,
// the user's uid, gid and groups, no_new_privs, and exactly this environment: PATH (see program_path), LANG=C.UTF-8,
// HOME, USER, and what the caller adds.
//
// fork() of a daemon of 30 MB costs about 0.3 ms; the programs cost more.
#pragma once

#include <sys/types.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lbcluster/base/result.hpp"

namespace lbcluster::health {

inline constexpr const char* program_path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// Whom a program runs as.
struct User {
    std::string name;
    std::string home;
    uid_t uid = 0;
    gid_t gid = 0;
    std::vector<gid_t> groups;

    static Result<User> find(const std::string& name);
};

// What the warden tells, once.
struct ProgramEnd {
    enum class Kind : std::int32_t { exited, killed, not_started };
    Kind kind = Kind::exited;
    std::int32_t value = 0;  // exit code, signal or errno
    std::int32_t step = 0;   // not_started: at what
};
// "setuid", "execve": what failed of a program that was not started.
const char* step_text(std::int32_t step);

// The pipes to a running program; closing them ends nothing.
struct Program {
    std::uint64_t id = 0;
    int output_fd = -1;
    int end_fd = -1;  // one ProgramEnd comes out
};

// What only some programs get.
struct ProgramExtras {
    std::vector<std::string> environment;  // NAME=value
    int input_fd = -1;                     // stays the caller's; -1: /dev/null
};

class Wardens {
  public:
    static constexpr std::size_t programs_max = 100;

    explicit Wardens(boost::asio::io_context& io) : io_(io) {}
    ~Wardens();
    Wardens(const Wardens&) = delete;
    Wardens& operator=(const Wardens&) = delete;

    // Wardens that clean up count.
    [[nodiscard]] std::size_t running() const { return wardens_.size(); }
    // Both descriptors are the caller's, non-blocking. Error: EAGAIN when too many run, else an errno.
    Result<Program> start(const std::vector<std::string>& arguments, const User& user,
                          const ProgramExtras& extras = {});
    // Kills the program and all below it, soon. Also of one that has ended: nothing happens then.
    void end(std::uint64_t id);

  private:
    struct Warden {
        pid_t pid = 0;
        std::unique_ptr<boost::asio::posix::stream_descriptor> pidfd;
    };
    boost::asio::io_context& io_;
    std::map<std::uint64_t, Warden> wardens_;
    std::uint64_t last_id_ = 0;
};

}  // namespace lbcluster::health
