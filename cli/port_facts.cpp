#include "port_facts.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>

#include "capture.hpp"

namespace lbcluster::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t table_bytes_max = 4UL * 1024 * 1024;  // who listens comes first
constexpr std::size_t text_bytes_max = 4096;

std::string text_of(const fs::path& file) {
    const auto text = tail_of(file, text_bytes_max);
    return text ? *text : "";
}

Holder holder_of(const fs::path& process, int pid) {
    Holder out{pid, text_of(process / "comm"), text_of(process / "cmdline")};
    while (!out.name.empty() && out.name.back() == '\n') out.name.pop_back();
    std::replace(out.command.begin(), out.command.end(), '\0', ' ');
    return out;
}

// Processes come and go meanwhile, and those of others may not be looked at.
Holders holders_of(const std::set<std::uint64_t>& inodes) {
    std::set<std::string> wanted;
    for (const std::uint64_t inode : inodes) wanted.insert("socket:[" + std::to_string(inode) + "]");
    Holders out;
    std::error_code none;
    for (const auto& process : fs::directory_iterator("/proc", none)) {
        const std::string name = process.path().filename();
        int pid = 0;
        const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
        if (error != std::errc{} || end != name.data() + name.size()) continue;
        std::set<std::string> found;
        std::error_code denied;
        for (fs::directory_iterator file(process.path() / "fd", denied), last; !denied && file != last;
             file.increment(denied)) {
            std::error_code gone;
            const std::string target = fs::read_symlink(file->path(), gone);
            if (!gone && wanted.contains(target)) found.insert(target);
        }
        for (const std::string& target : found) {
            out.emplace(std::stoull(target.substr(target.find('[') + 1)), holder_of(process.path(), pid));
        }
    }
    return out;
}

}  // namespace

std::vector<TakenPorts> look_at_ports(const std::vector<OwnPorts>& own, std::vector<std::string>& not_examined) {
    std::vector<HeldSocket> sockets;
    for (const char* table : {"udp", "udp6", "tcp", "tcp6"}) {
        const auto text = tail_of(std::string("/proc/net/") + table, table_bytes_max);
        if (!text) continue;  // a kernel without IPv6 has two of them
        for (const HeldSocket& socket : held_sockets(*text, std::string_view(table).starts_with("udp"))) {
            if (std::any_of(own.begin(), own.end(), [&](const OwnPorts& one) { return is_at(socket, one); }))
                sockets.push_back(socket);
        }
    }
    std::set<std::uint64_t> inodes;
    for (const HeldSocket& socket : sockets) inodes.insert(socket.inode);
    const Holders holders = holders_of(inodes);
    if (::geteuid() != 0 &&
        std::erase_if(sockets, [&](const HeldSocket& one) { return !holders.contains(one.inode); }) > 0)
        not_examined.emplace_back("who holds the ports of our daemons: you may not see it (run it as root)");
    return taken_ports(own, sockets, holders);
}

}  // namespace lbcluster::cli
