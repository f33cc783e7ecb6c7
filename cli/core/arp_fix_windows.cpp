// Windows Server 2012 and newer: the address on a loopback adapter, and both adapters as weak hosts, so that what comes
// in by the network adapter may be for the other one. IPv4 with /32; IPv6 with the prefix length of the network, as
// Windows routes answers by it.
#include "cli/core/arp_fix_parts.hpp"

namespace lbcluster::cli {
namespace {

constexpr std::uint8_t usual_network_bits = 64;

std::string bits_of(const Fixable& service) {
    if (service.address.is_v4()) return "32";
    return std::to_string(service.network_bits != 0 ? service.network_bits : usual_network_bits);
}

std::string powershell(const Fixable& service, bool undo) {
    const std::string vip = service.address.to_string();
    const std::string family = service.address.is_v4() ? "IPv4" : "IPv6";
    const std::string on_both = "Get-NetIPInterface -InterfaceAlias $Lan, $Loopback -AddressFamily " + family +
                                " |\n    Format-Table InterfaceAlias, WeakHostReceive, WeakHostSend, DadTransmits\n";
    const std::string head =
        "param([string]$Lan = 'net', [string]$Loopback = 'loopback')\n$ErrorActionPreference = 'Stop'\nforeach ($name "
        "in $Lan, $Loopback) {\n    if (-not (Get-NetAdapter -Name $name -IncludeHidden -ErrorAction "
        "SilentlyContinue)) {\n        throw \"there is no network adapter '$name': rename one "
        "(Rename-NetAdapter), or name yours with -Lan and -Loopback\"\n    }\n}\n";
    const std::string have =
        "Get-NetIPAddress -InterfaceAlias $Loopback -IPAddress '" + vip + "' -ErrorAction SilentlyContinue";
    if (undo) {
        return head + have + " |\n    Remove-NetIPAddress -Confirm:$false\n" +
               "# The adapter stays a weak host while it has another address of a service.\n"
               "$left = Get-NetIPAddress -InterfaceAlias $Loopback -AddressFamily " +
               family +
               " -ErrorAction SilentlyContinue |\n    Where-Object PrefixOrigin -eq 'Manual'\nif (-not $left) {\n"
               "    Set-NetIPInterface -InterfaceAlias $Loopback -AddressFamily " +
               family +
               " -WeakHostReceive Disabled -WeakHostSend Disabled\n    Set-NetIPInterface -InterfaceAlias $Lan "
               "-AddressFamily " +
               family + " -WeakHostReceive Disabled\n}\n" + on_both;
    }
    return head + "if (-not (" + have + ")) {\n    New-NetIPAddress -InterfaceAlias $Loopback -IPAddress '" + vip +
           "' -PrefixLength " + bits_of(service) +
           " -SkipAsSource $true | Out-Null\n}\nSet-NetIPInterface -InterfaceAlias $Loopback -AddressFamily " + family +
           " -WeakHostReceive Enabled -WeakHostSend Enabled -DadTransmits 0\n" +
           "Set-NetIPInterface -InterfaceAlias $Lan -AddressFamily " + family + " -WeakHostReceive Enabled\n" +
           "Set-DnsClient -InterfaceAlias $Loopback -RegisterThisConnectionsAddress $false\n"
           "# Must show Enabled for both adapters under WeakHostReceive, and for the loopback adapter under "
           "WeakHostSend:\n" +
           on_both;
}

std::string netsh(const Fixable& service, bool undo) {
    const std::string vip = service.address.to_string();
    const std::string tool = std::string("netsh interface ") + (service.address.is_v4() ? "ipv4 " : "ipv6 ");
    const std::string verify = tool + "show interface \"%LAN%\"\r\n" + tool + "show interface \"%LOOPBACK%\"\r\n";
    std::string out = "set LAN=net\r\nset LOOPBACK=loopback\r\n";
    if (undo) return out + tool + "delete address \"%LOOPBACK%\" " + vip + "\r\n" + verify;
    out += "rem \"The object already exists\" is no fault: it was done before.\r\n";
    out += service.address.is_v4()
               ? tool + "add address \"%LOOPBACK%\" " + vip + " 255.255.255.255 skipassource=true\r\n"
               : tool + "add address \"%LOOPBACK%\" " + vip + "/" + bits_of(service) + " skipassource=true\r\n";
    out += tool + "set interface \"%LAN%\" weakhostreceive=enabled\r\n";
    out += tool + "set interface \"%LOOPBACK%\" weakhostreceive=enabled\r\n";
    out += tool + "set interface \"%LOOPBACK%\" weakhostsend=enabled\r\n";
    out += tool + "set interface \"%LOOPBACK%\" dadtransmits=0\r\n";
    return out + "rem Must show 'enabled' for the three settings above:\r\n" + verify;
}

}  // namespace

Fix windows_fix(const Fixable& service, FixMethod method, bool undo) {
    Fix fix;
    fix.method = word_of(method);
    const bool shell = method == FixMethod::powershell;
    fix.file_name = "lbcluster-arp-fix-" + service.label + (undo ? "-undo" : "") + (shell ? ".ps1" : ".cmd");
    if (undo) {
        if (!shell) {
            fix.notes.emplace_back(
                "The weak host settings stay, as other services may need them; weakhostreceive=disabled and "
                "weakhostsend=disabled in the same commands take them back.");
        }
    } else {
        fix.notes.emplace_back(
            "First install the adapter, once: run hdwwiz, choose 'Install the hardware that I manually select', "
            "Network "
            "adapters, Microsoft, 'Microsoft KM-TEST Loopback Adapter'. Then name it 'loopback' and the network "
            "adapter "
            "'net' (ncpa.cpl, or Rename-NetAdapter); case counts.");
        fix.notes.emplace_back("On the loopback adapter leave only the protocol TCP/IPv4 or TCP/IPv6 switched on.");
        fix.notes.emplace_back("Windows' firewall must let the application's port in on both adapters.");
        if (service.address.is_v6()) {
            fix.notes.emplace_back("The prefix length /" + bits_of(service) +
                                   (service.network_bits != 0 ? " is that of the network here."
                                                              : " is a guess: it must be that of the network."));
        }
    }
    if (shell) {
        fix.script = opening(service, fix, "# ", undo) + powershell(service, undo);
    } else {
        fix.script = "@echo off\r\n" + opening(service, fix, "rem ", undo) + netsh(service, undo);
    }
    return fix;
}

}  // namespace lbcluster::cli
