// L4-9: what is printed for each system. The scripts for Linux run on a real server in tests/ipvs/diagnose_test.cpp;
// here their text stands as a whole once, and the others' where it matters. Every shell script is one (sh -n).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "cli/core/arp_fix.hpp"

namespace lbcluster::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

IpAddress ip(const char* text) { return IpAddress::parse(text).value(); }

Fixable service(const char* address, Forwarding method) {
    Fixable out;
    out.label = "web";
    out.address = ip(address);
    out.ports = {{80, 80}, {8000, 8010}};
    out.method = method;
    out.servers = {{"rs1", ip(out.address.is_v4() ? "10.80.0.21" : "fd80::21"), 0}};
    return out;
}

std::string script(const Fixable& one, System system, std::optional<FixMethod> method = std::nullopt,
                   bool undo = false) {
    const auto fix = make_fix(one, system, method, undo);
    EXPECT_TRUE(fix.ok());
    return fix.ok() ? fix->script : "";
}

TEST(ArpFix, SysctlOnLinuxInFull) {
    EXPECT_EQ(script(service("10.77.0.200", Forwarding::dr), System::linux_), R"sh(#!/bin/sh
# Makes this machine a real server of 'web': 10.77.0.200, tcp 80, 8000-8010, method sysctl.
# Run it as root on each server; running it again does no harm.
# The application must listen on 10.77.0.200 and on the server's own address (or on every address).
set -eu
[ "$(id -u)" = 0 ] || { echo 'run this as root' >&2; exit 1; }
script=/usr/local/sbin/lbcluster-arp-fix-web
unit=/etc/systemd/system/lbcluster-arp-fix-web.service
elsewhere=$(ip -o address show to 10.77.0.200 | awk '$2 != "lo" { print $2 }')
if [ -n "$elsewhere" ]; then
    echo "10.77.0.200 is on $elsewhere here. Is this a balancer? On a server, take it away there first." >&2
    exit 1
fi
mkdir -p /usr/local/sbin
cat > "$script" <<'END'
#!/bin/sh
set -eu
# No ARP answer for an address that is not on the asking interface, and none named as the sender.
echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore
echo 2 > /proc/sys/net/ipv4/conf/all/arp_announce
ip address replace 10.77.0.200/32 dev lo
END
chmod 755 "$script"
"$script"
if [ -d /run/systemd/system ]; then
    cat > "$unit" <<END
[Unit]
Description=Real server of web (lbcluster)
After=network-pre.target
Before=network.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=$script

[Install]
WantedBy=multi-user.target
END
    systemctl daemon-reload
    systemctl enable "${unit##*/}"
else
    echo "no systemd here: have $script run at each start"
fi
ip -o address show to 10.77.0.200
)sh");
}

TEST(ArpFix, Ipv6NeedsNoSysctlAndNoDetectionOfDuplicates) {
    const std::string text = script(service("fd77::200", Forwarding::dr), System::linux_);
    EXPECT_THAT(text, HasSubstr("ip -6 address replace fd77::200/128 dev lo nodad"));
    EXPECT_THAT(text, Not(HasSubstr("arp_ignore")));
}

TEST(ArpFix, RedirectingOnLinux) {
    Fixable both = service("10.77.0.200", Forwarding::dr);
    both.udp = true;
    const std::string iptables = script(both, System::linux_, FixMethod::iptables);
    EXPECT_THAT(iptables, AllOf(HasSubstr("iptables -w -t nat -C PREROUTING"),
                                HasSubstr("rule -d 10.77.0.200/32 -p tcp --dport 80 "),
                                HasSubstr("rule -d 10.77.0.200/32 -p udp --dport 8000:8010 ")));
    EXPECT_THAT(script(service("fd77::200", Forwarding::dr), System::linux_, FixMethod::iptables),
                AllOf(HasSubstr("ip6tables -w"), HasSubstr("-d fd77::200/128 -p tcp"), HasSubstr("kernel 3.7")));
    const std::string nftables = script(both, System::linux_, FixMethod::nftables);
    EXPECT_THAT(nftables, AllOf(HasSubstr("ip daddr 10.77.0.200 tcp dport { 80, 8000-8010 } redirect"),
                                HasSubstr("ip daddr 10.77.0.200 udp dport { 80, 8000-8010 } redirect"),
                                HasSubstr("type nat hook postrouting priority 100"), HasSubstr("before 4.18")));
    both.ports = {{1, 65535}};
    EXPECT_THAT(script(both, System::linux_, FixMethod::nftables),
                HasSubstr("ip daddr 10.77.0.200 meta l4proto udp redirect"));
    EXPECT_THAT(script(both, System::linux_, FixMethod::firewalld),
                AllOf(HasSubstr("--permanent --direct --add-rule ipv4 nat PREROUTING 0"),
                      HasSubstr("rule -d 10.77.0.200/32 -p tcp -m comment"), HasSubstr("firewall-cmd --reload"),
                      Not(HasSubstr("systemctl"))));
}

TEST(ArpFix, Tunnel) {
    EXPECT_THAT(script(service("10.77.0.200", Forwarding::tun), System::linux_),
                AllOf(HasSubstr("modprobe ipip"), HasSubstr("ip link set tunl0 up"),
                      HasSubstr("ip address replace 10.77.0.200/32 dev tunl0"), HasSubstr("tunl0/rp_filter")));
    EXPECT_THAT(script(service("fd77::200", Forwarding::tun), System::linux_),
                AllOf(HasSubstr("modprobe ip6_tunnel"), HasSubstr("fd77::200/128 dev ip6tnl0 nodad")));
    EXPECT_FALSE(make_fix(service("10.77.0.200", Forwarding::tun), System::bsd, std::nullopt, false).ok());
}

TEST(ArpFix, OtherSystems) {
    const Fixable v4 = service("10.77.0.200", Forwarding::dr);
    Fixable v6 = service("fd77::200", Forwarding::dr);
    EXPECT_THAT(script(v4, System::bsd), AllOf(HasSubstr("ifconfig lo0 inet 10.77.0.200 netmask 255.255.255.255 alias"),
                                               HasSubstr("ifconfig_lo0_aliases"), HasSubstr("/etc/hostname.lo0")));
    EXPECT_THAT(script(v6, System::bsd), HasSubstr("ifconfig lo0 inet6 fd77::200 prefixlen 128 alias"));
    EXPECT_THAT(script(v4, System::macos),
                AllOf(HasSubstr("/Library/LaunchDaemons/lbcluster.arp-fix.web.plist"),
                      HasSubstr("<string>10.77.0.200</string>"), HasSubstr("launchctl bootstrap system")));
    EXPECT_THAT(script(v4, System::solaris),
                HasSubstr("ipadm create-addr -T static -a 10.77.0.200/32 lo0/lbc0a4d00c8"));
    EXPECT_THAT(script(v4, System::windows),
                AllOf(HasSubstr("-IPAddress '10.77.0.200' -PrefixLength 32"), HasSubstr("-WeakHostSend Enabled"),
                      HasSubstr("KM-TEST Loopback"), HasSubstr("Format-Table InterfaceAlias, WeakHostReceive")));
    EXPECT_THAT(script(v6, System::windows), AllOf(HasSubstr("-PrefixLength 64"), HasSubstr("is a guess")));
    v6.network_bits = 56;
    EXPECT_THAT(script(v6, System::windows), AllOf(HasSubstr("-PrefixLength 56"), Not(HasSubstr("is a guess"))));
    EXPECT_THAT(script(v6, System::windows, FixMethod::netsh),
                AllOf(HasSubstr("netsh interface ipv6 add address \"%LOOPBACK%\" fd77::200/56"),
                      HasSubstr("weakhostsend=enabled"), HasSubstr("netsh interface ipv6 show interface")));
}

TEST(ArpFix, EveryScriptReminds) {
    for (const System system : {System::linux_, System::bsd, System::macos, System::solaris, System::windows})
        EXPECT_THAT(script(service("10.77.0.200", Forwarding::dr), system),
                    HasSubstr("must listen on 10.77.0.200 and"));
}

TEST(ArpFix, EveryShellScriptIsOne) {
    const auto parses = [](const std::string& text) {
        FILE* shell = ::popen("sh -n", "w");
        if (shell == nullptr) return false;
        std::fwrite(text.data(), 1, text.size(), shell);
        return ::pclose(shell) == 0;
    };
    for (const char* address : {"10.77.0.200", "fd77::200"}) {
        for (const bool undo : {false, true}) {
            const Fixable dr = service(address, Forwarding::dr);
            for (const auto method :
                 {FixMethod::sysctl, FixMethod::iptables, FixMethod::nftables, FixMethod::firewalld})
                EXPECT_TRUE(parses(script(dr, System::linux_, method, undo))) << word_of(method);
            for (const System system : {System::bsd, System::macos, System::solaris})
                EXPECT_TRUE(parses(script(dr, system, std::nullopt, undo))) << word_of(system);
            EXPECT_TRUE(parses(script(service(address, Forwarding::tun), System::linux_, std::nullopt, undo)));
        }
    }
}

TEST(ArpFix, MethodsThatDoNotFitAreRefused) {
    const auto refused = make_fix(service("10.77.0.200", Forwarding::dr), System::linux_, FixMethod::netsh, false);
    ASSERT_FALSE(refused.ok());
    EXPECT_THAT(refused.error().hint, HasSubstr("sysctl, iptables, nftables, firewalld"));
    EXPECT_FALSE(make_fix(service("10.77.0.200", Forwarding::tun), System::linux_, FixMethod::sysctl, false).ok());
    EXPECT_FALSE(make_fix(service("10.77.0.200", Forwarding::nat), System::linux_, FixMethod::sysctl, false).ok());
}

TEST(ArpFix, NatNeedsAGatewayAndSnatNothing) {
    Fixable nat = service("10.77.0.200", Forwarding::nat);
    const auto notes = [&] {
        const auto fix = make_fix(nat, System::linux_, std::nullopt, false);
        EXPECT_THAT(fix->script, IsEmpty());
        return fix->notes[0];
    };
    EXPECT_THAT(notes(), HasSubstr("in no network of this node"));
    nat.networks = {IpPrefix::parse("10.80.0.11/24").value()};
    EXPECT_THAT(notes(), HasSubstr("lbcluster floating-ip add"));
    nat.gateways = {ip("10.77.0.200"), ip("10.80.0.200")};
    EXPECT_THAT(notes(), HasSubstr("ip route replace default via 10.80.0.200"));
    const auto snat = make_fix(service("10.77.0.200", Forwarding::snat), System::linux_, std::nullopt, false);
    EXPECT_THAT(snat->script, IsEmpty());
    EXPECT_THAT(snat->notes[0], HasSubstr("Nothing needs to be done"));
    Fixable proxy = service("10.77.0.200", Forwarding::dr);
    proxy.method.reset();
    EXPECT_THAT(make_fix(proxy, System::windows, std::nullopt, false)->notes[0], HasSubstr("Nothing"));
}

}  // namespace
}  // namespace lbcluster::cli
