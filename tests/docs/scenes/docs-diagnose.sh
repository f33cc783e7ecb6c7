scene() {
    on lb1 lbcluster service add web address=10.77.0.210 ports=80 method=dr check.type=connect
    on lb1 lbcluster server add web rs1 address=10.77.0.21
}
