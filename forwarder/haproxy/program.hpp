// The program HAProxy on this machine: where it is, whether it takes a file, starting its master process, and watching
// it. Blocks as named; callable from any thread, holds no state.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>

#include "lbcluster/base/result.hpp"
#include "lbcluster/base/time.hpp"

namespace lbcluster::forward {

struct ProxyFiles {
    std::string run_dir;
    [[nodiscard]] std::string config() const { return run_dir + "/haproxy.cfg"; }
    [[nodiscard]] std::string candidate() const { return run_dir + "/haproxy.cfg.new"; }
    [[nodiscard]] std::string master_socket() const { return run_dir + "/haproxy-master.sock"; }
    [[nodiscard]] std::string log() const { return run_dir + "/haproxy.log"; }
};

// A process that may end at any moment, by a file descriptor that becomes readable then.
struct ProxyProcess {
    pid_t pid = -1;
    int fd = -1;  // of pidfd_open(2); whoever takes it closes it
};

// Its path: LBCLUSTER_HAPROXY, else where Debian has it. An error if it is not there.
Result<std::string> find_proxy_program();
// Most connections that it can have here, by the limit of open files.
std::uint32_t proxy_connections_max();
// The user that Debian makes for it; false: there is none.
bool has_proxy_user();

// `haproxy -c`; blocks until it has ended, at most `limit`. The error's message is what it said.
Result<void> check_proxy_file(const std::string& program, const std::string& path, milliseconds limit);
// Starts the master process in a session of its own; its output goes to files.log(), which is emptied before.
Result<ProxyProcess> start_proxy(const std::string& program, const ProxyFiles& files);
// The master process that listens on our socket, whoever started it. pid -1: there is none.
ProxyProcess find_proxy(const ProxyFiles& files);
Result<ProxyProcess> watch_process(pid_t pid);
// Ends the one that find_proxy() finds, and its workers; none is no error. Blocks, at most `limit` until it is killed.
Result<void> end_proxy(const ProxyFiles& files, milliseconds limit);
// Of a child that has ended; of any other nothing happens.
void reap(pid_t pid);
// Certificates with their keys: the folder is for its owner only, and so is each file. Those that are as they shall be
// are not touched.
Result<void> write_certificates(const ProxyFiles& files, const std::map<std::string, std::string>& certificates);
// All others go.
Result<void> keep_certificates(const ProxyFiles& files, const std::map<std::string, std::string>& certificates);
// The end of its log, at most 16 KiB.
std::string read_proxy_log(const ProxyFiles& files);
void empty_proxy_log(const ProxyFiles& files);

}  // namespace lbcluster::forward
