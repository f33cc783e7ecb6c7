// Network namespaces for tests: the test's own one with one end of a veth pair, and a peer's with the other end.
// Nothing outside is touched. Needs root; a test binary enters a namespace of its own before anything else.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>

#include <gtest/gtest.h>

namespace lbcluster::test {

inline void sh(const std::string& command) { ASSERT_EQ(std::system((command + " >/dev/null").c_str()), 0) << command; }

// True when the condition came true in time.
inline bool wait_for(const std::function<bool()>& condition,
                     std::chrono::milliseconds within = std::chrono::seconds(2)) {
    const auto end = std::chrono::steady_clock::now() + within;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::microseconds(500));
    }
    return true;
}

class Namespaces {
  public:
    // `here` (10.0.0.1/16, fd00::1/64) in our namespace, `there` (10.0.0.2/16, fd00::2/64) in the peer's.
    void set_up() {
        ASSERT_EQ(::unshare(CLONE_NEWNET), 0) << "needs root";
        ours_ = ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
        sh("ip link set lo up");
        ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
        peers_ = ::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
        sh("ip link set lo up");
        enter_ours();
        plug();
    }
    // Makes the pair of interfaces; again after `ip link del here`.
    void plug() {
        sh("ip link add here address 02:00:00:00:00:01 type veth peer name there address 02:00:00:00:00:02");
        const std::string peer = "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(peers_);
        sh("ip link set there netns " + peer);
        sh("ip addr add 10.0.0.1/16 dev here; ip addr add fd00::1/64 dev here nodad; ip link set here up");
        in_peer([] {
            sh("ip addr add 10.0.0.2/16 dev there; ip addr add fd00::2/64 dev there nodad; ip link set there up");
        });
    }
    void in_peer(const std::function<void()>& work) const {
        ASSERT_EQ(::setns(peers_, CLONE_NEWNET), 0);
        work();
        enter_ours();
    }
    void enter_ours() const { ASSERT_EQ(::setns(ours_, CLONE_NEWNET), 0); }
    ~Namespaces() {
        if (ours_ >= 0) ::close(ours_);
        if (peers_ >= 0) ::close(peers_);
    }

  private:
    int ours_ = -1;
    int peers_ = -1;
};

}  // namespace lbcluster::test
