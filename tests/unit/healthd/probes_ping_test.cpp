// ICMP and ICMPv6 echo. HC-3. Needs root, or net.ipv4.ping_group_range.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sched.h>
#include <sys/syscall.h>

#include <cstdlib>

#include "tests/unit/healthd/probes_rig.hpp"

namespace lbcluster::health::test {
namespace {

class Ping : public Rig {
  protected:
    static ProbeSpec ping(const char* address) {
        ProbeSpec spec;
        spec.address = *IpAddress::parse(address);
        spec.check.set_type(config::CHECK_TYPE_PING);
        return spec;
    }
};

TEST_F(Ping, LoopbackAnswers) {
    EXPECT_EQ(text_of(ask(ping("127.0.0.1"))), "up: echo reply");
    EXPECT_EQ(text_of(ask(ping("::1"))), "up: echo reply");
}

TEST_F(Ping, ManyAtOnceGetTheirOwnAnswers) {
    std::vector<std::unique_ptr<Probe>> probes;
    int answered = 0;
    for (int i = 1; i <= 200; ++i) {
        const std::string last = std::to_string(i);
        probes.push_back(make(ping(("127.0.0." + last).c_str())));
        probes.back()->start([&](const Outcome& outcome) { answered += outcome.finding == Finding::up ? 1 : 0; });
    }
    EXPECT_TRUE(turn_until([&] { return answered == 200; }));
}

// A cable at whose other end nobody has the address.
TEST_F(Ping, SilenceIsStopped) {
    std::string stopped;
    bool done = false;
    std::thread([&] {
        if (::unshare(CLONE_NEWNET) != 0 ||
            std::system("ip link add quiet type veth peer name end && ip addr add 192.0.2.1/24 dev quiet && "
                        "ip link set quiet up && ip link set end up") != 0) {
            stopped = "needs root";
            return;
        }
        const auto probe = make(ping("192.0.2.7"));
        probe->start([&](const Outcome&) { done = true; });
        io_.run_for(std::chrono::milliseconds(50));
        stopped = probe->stop();
    }).join();
    EXPECT_EQ(stopped, "echo reply");
    EXPECT_FALSE(done);
}

// A ping socket needs no privilege where the administrator opened net.ipv4.ping_group_range.
TEST_F(Ping, PingSocketIsUsedWhereAllowed) {
    std::string found;
    std::thread([&] {
        if (::unshare(CLONE_NEWNET) != 0 || std::system("ip link set lo up") != 0) {
            found = "needs root";
            return;
        }
        const int range = ::open("/proc/sys/net/ipv4/ping_group_range", O_WRONLY | O_CLOEXEC);
        if (range < 0 || ::write(range, "0 2147483647", 12) != 12) {
            found = "no ping_group_range";
            return;
        }
        ::close(range);
        const int probe_socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_ICMP);
        EXPECT_GE(probe_socket, 0);
        ::close(probe_socket);
        found = text_of(ask(ping("127.0.0.1"))) + "; " + text_of(ask(ping("::1")));
    }).join();
    EXPECT_EQ(found, "up: echo reply; up: echo reply");
}

TEST_F(Ping, WithoutPermissionItIsOurOwnFault) {
    std::string found;
    std::thread([&] {
        // Only this thread gives up its privileges.
        if (::unshare(CLONE_NEWNET) != 0 || ::syscall(SYS_setresuid, 65534, 65534, 65534) != 0) {
            found = "needs root";
            return;
        }
        found = text_of(ask(ping("127.0.0.1")));
    }).join();
    EXPECT_EQ(found,
              "unusable: no socket for pings: operation not permitted; needs CAP_NET_RAW or net.ipv4.ping_group_range");
}

}  // namespace
}  // namespace lbcluster::health::test
