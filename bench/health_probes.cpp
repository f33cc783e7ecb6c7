// What a probe costs: CPU time of this process per connect and per HTTP probe, at a given number of targets and one
// probe a second of each, spread evenly, as healthd does it. The server is a process of its own (its CPU is not
// counted) on 127.0.0.1, as in targets.md.
//
//   bench_health_probes [TARGETS [SECONDS]]      default: 5000 targets, 5 s for each kind
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "bench/fast_server.hpp"
#include "healthd/probes/factory.hpp"

namespace {

using namespace lbcluster;
using namespace lbcluster::health;
using Clock = std::chrono::steady_clock;

[[noreturn]] void die(const char* what) {
    std::perror(what);
    std::exit(1);
}

struct Server {
    std::uint16_t port = 0;
    pid_t pid = 0;

    Server() {
        const int listener = bench::listen_tcp(INADDR_LOOPBACK, 0);
        sockaddr_in address{};
        socklen_t bytes = sizeof address;
        if (listener < 0 || ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &bytes) != 0) die("listen");
        port = ntohs(address.sin_port);
        pid = ::fork();
        if (pid < 0) die("fork");
        if (pid == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            bench::serve(listener);
            ::_exit(0);
        }
        ::close(listener);
    }
    ~Server() {
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
    }
};

std::chrono::microseconds cpu_time() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto one = [](const timeval& t) {
        return std::chrono::seconds(t.tv_sec) + std::chrono::microseconds(t.tv_usec);
    };
    return one(usage.ru_utime) + one(usage.ru_stime);
}

long resident_kib() {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("VmRSS:")) return std::atol(line.c_str() + 6);
    }
    return 0;
}

// Every target once a second, a tick of 10 ms at a time.
class Load {
  public:
    Load(boost::asio::io_context& io, std::vector<std::unique_ptr<Probe>>& probes)
        : io_(io), timer_(io), probes_(probes) {}

    void run(std::chrono::seconds length) {
        begin_ = Clock::now();
        until_ = begin_ + length;
        tick();
        io_.restart();
        io_.run_until(until_ + std::chrono::seconds(1));
    }
    std::size_t up = 0;
    std::size_t ended = 0;
    std::string first_failure;

  private:
    void tick() {
        const auto now = Clock::now();
        if (now >= until_) return;
        const double due = std::chrono::duration<double>(now - begin_).count() * static_cast<double>(probes_.size());
        while (static_cast<double>(started_) < due) {
            Probe& probe = *probes_[started_++ % probes_.size()];
            probe.stop();
            probe.start([this](const Outcome& outcome) {
                ++ended;
                if (outcome.finding == Finding::up) ++up;
                else if (first_failure.empty()) first_failure = outcome.reason;
            });
        }
        timer_.expires_at(now + std::chrono::milliseconds(10));
        timer_.async_wait([this](const boost::system::error_code&) { tick(); });
    }

    boost::asio::io_context& io_;
    boost::asio::steady_timer timer_;
    std::vector<std::unique_ptr<Probe>>& probes_;
    Clock::time_point begin_;
    Clock::time_point until_;
    std::size_t started_ = 0;
};

void measure(const char* name, const ProbeSpec& spec, std::size_t targets, std::chrono::seconds length) {
    boost::asio::io_context io{1};
    ProbeFactory factory(io);
    const long before_kib = resident_kib();
    std::vector<std::unique_ptr<Probe>> probes;
    for (std::size_t i = 0; i < targets; ++i) {
        auto probe = factory.make(spec);
        if (!probe) die(probe.error().message.c_str());
        probes.push_back(std::move(*probe));
    }
    Load load(io, probes);
    const auto before = cpu_time();
    load.run(length);
    const auto used = cpu_time() - before;
    std::printf("%-8s %zu targets: %6.1f us CPU each, %zu probes, %zu up, %ld KiB more memory, %ld KiB in all\n", name,
                targets, static_cast<double>(used.count()) / static_cast<double>(std::max<std::size_t>(load.ended, 1)),
                load.ended, load.up, resident_kib() - before_kib, resident_kib());
    if (!load.first_failure.empty()) std::printf("         first failure: %s\n", load.first_failure.c_str());
}

}  // namespace

int main(int argc, char** argv) {
    const std::size_t targets = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 5000;
    const std::chrono::seconds length(argc > 2 ? std::atol(argv[2]) : 5);
    if (targets == 0 || length.count() <= 0) {
        std::fprintf(stderr, "usage: bench_health_probes [TARGETS [SECONDS]]\n");
        return 2;
    }
    rlimit files{};
    ::getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
    const Server server;
    ProbeSpec spec;
    spec.address = IpAddress::v4({127, 0, 0, 1});
    spec.port = server.port;
    spec.check.set_type(config::CHECK_TYPE_CONNECT);
    measure("connect", spec, targets, length);
    spec.check.set_type(config::CHECK_TYPE_NEGOTIATE);
    spec.check.set_protocol(config::CHECK_PROTOCOL_HTTP);
    spec.check.set_request("/api/health/application-server/status?disk-threshold-mb=1&Authorization=KEY");
    spec.check.add_expect_status(200);
    measure("http", spec, targets, length);
    spec.check.set_expect_text("OK");
    measure("text", spec, targets, length);
    return 0;
}
