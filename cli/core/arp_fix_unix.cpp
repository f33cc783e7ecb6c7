// BSD, macOS and Solaris: their loopback interface answers no ARP, so the address goes there.
#include <algorithm>

#include "cli/core/arp_fix_parts.hpp"

namespace lbcluster::cli {
namespace {

constexpr const char* hex_digits = "0123456789abcdef";
constexpr const char* as_root = "set -eu\n[ \"$(id -u)\" = 0 ] || { echo 'run this as root' >&2; exit 1; }\n";

Fix loopback(const Fixable& service, bool undo) {
    Fix fix;
    fix.method = word_of(FixMethod::loopback);
    fix.file_name = "lbcluster-arp-fix-" + service.label + (undo ? "-undo.sh" : ".sh");
    if (undo) fix.notes.emplace_back("Leave the address there while another service of this server has it too.");
    return fix;
}

std::string begin(const Fixable& service, const Fix& fix, bool undo) {
    return "#!/bin/sh\n" + opening(service, fix, "# ", undo) + as_root;
}

// "inet 10.0.0.1 netmask 255.255.255.255", "inet6 fd00::1 prefixlen 128"
std::string ifconfig_words(const IpAddress& address) {
    return address.is_v4() ? "inet " + address.to_string() + " netmask 255.255.255.255"
                           : "inet6 " + address.to_string() + " prefixlen 128";
}

std::string give_up(const IpAddress& address) {
    const std::string vip = address.to_string();
    return "if ifconfig lo0 | grep -qwF '" + vip + "'; then ifconfig lo0 " + (address.is_v4() ? "inet " : "inet6 ") +
           vip + " delete; fi\n";
}

std::string line_in_file(const std::string& system, const std::string& file, const std::string& line, bool undo) {
    const std::string has = "grep -qsxF '" + line + "' " + file;
    return system + ")\n" +
           (undo ? "    if " + has + "; then\n        grep -vxF '" + line + "' " + file + " > " + file +
                       ".new || true\n        mv " + file + ".new " + file + "\n    fi ;;\n"
                 : "    " + has + " || echo '" + line + "' >> " + file + " ;;\n");
}

}  // namespace

Fix bsd_fix(const Fixable& service, bool undo) {
    Fix fix = loopback(service, undo);
    const IpAddress& address = service.address;
    const std::string vip = address.to_string();
    const std::string word = (address.is_v4() ? "inet " : "inet6 ") + alone(address);
    fix.script = begin(service, fix, undo) +
                 (undo ? give_up(address) : "ifconfig lo0 " + ifconfig_words(address) + " alias\n") +
                 "# At each start as well:\ncase \"$(uname -s)\" in\nFreeBSD | DragonFly)\n"
                 "    have=$(sysrc -n ifconfig_lo0_aliases 2>/dev/null || true)\n    case \" $have \" in\n";
    if (undo) {
        fix.script += "    *' " + word + " '*)\n        sysrc ifconfig_lo0_aliases=\"$(echo \" $have \" | sed 's| " +
                      word + " | |')\" ;;\n    esac ;;\n";
    } else {
        fix.script +=
            "    *' " + word + " '*) ;;\n    *) sysrc ifconfig_lo0_aliases=\"$have " + word + "\" ;;\n    esac ;;\n";
    }
    fix.script +=
        line_in_file("OpenBSD", "/etc/hostname.lo0",
                     address.is_v4() ? "inet alias " + vip + " 255.255.255.255" : "inet6 alias " + vip + " 128", undo) +
        line_in_file("NetBSD", "/etc/ifconfig.lo0", ifconfig_words(address) + " alias", undo) +
        "*) echo 'put the ifconfig command into the start scripts of this system' ;;\nesac\n";
    if (!undo) fix.script += "ifconfig lo0 | grep -wF '" + vip + "'\n";
    return fix;
}

Fix macos_fix(const Fixable& service, bool undo) {
    Fix fix = loopback(service, undo);
    const IpAddress& address = service.address;
    const std::string name = "lbcluster.arp-fix." + service.label;
    fix.script = begin(service, fix, undo) + "plist=/Library/LaunchDaemons/" + name +
                 ".plist\nlaunchctl bootout system/" + name + " 2>/dev/null || true\n";
    if (undo) {
        fix.script += "rm -f \"$plist\"\n" + give_up(address);
        return fix;
    }
    std::string words;
    const std::string command = "/sbin/ifconfig lo0 " + ifconfig_words(address) + " alias";
    for (std::size_t at = 0; at < command.size();) {
        const std::size_t space = std::min(command.find(' ', at), command.size());
        words += "        <string>" + command.substr(at, space - at) + "</string>\n";
        at = space + 1;
    }
    fix.script +=
        "# Now and at each start:\ncat > \"$plist\" <<'END'\n<?xml version=\"1.0\" "
        "encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" "
        "\"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist version=\"1.0\">\n<dict>\n    "
        "<key>Label</key>\n    <string>" +
        name + "</string>\n    <key>ProgramArguments</key>\n    <array>\n" + words +
        "    </array>\n    <key>RunAtLoad</key>\n    <true/>\n</dict>\n</plist>\nEND\nchmod 644 "
        "\"$plist\"\n" +
        command + "\nlaunchctl bootstrap system \"$plist\"\nifconfig lo0 | grep -wF '" + address.to_string() + "'\n";
    return fix;
}

Fix solaris_fix(const Fixable& service, bool undo) {
    Fix fix = loopback(service, undo);
    const std::string vip = service.address.to_string();
    // A name of letters and digits that belongs to the address: services that share it share the name.
    std::string object = "lo0/lbc";
    for (const std::uint8_t byte : service.address.bytes().last(service.address.is_v4() ? 4 : 8)) {
        object += hex_digits[byte >> 4U];
        object += hex_digits[byte & 0xFU];
    }
    if (!undo && service.address.is_v4()) {
        fix.notes.emplace_back("Solaris 10 has no ipadm: ifconfig lo0:1 plumb; ifconfig lo0:1 " + vip +
                               " netmask 255.255.255.255 up, and the same line in /etc/hostname.lo0:1.");
    }
    fix.script = begin(service, fix, undo);
    if (undo) {
        fix.script += "if ipadm show-addr " + object + " >/dev/null 2>&1; then ipadm delete-addr " + object + "; fi\n";
    } else {
        fix.script += "# ipadm remembers it over a restart.\nipadm show-addr " + object +
                      " >/dev/null 2>&1 || ipadm create-addr -T static -a " + alone(service.address) + " " + object +
                      "\nipadm show-addr " + object + "\n";
    }
    return fix;
}

}  // namespace lbcluster::cli
