"""The VPC: private subnets for nodes, public ones for the NAT gateway and a public load balancer."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pulumi
import pulumi_aws as aws

from components.platforms.aws.settings import INTERFACE_ENDPOINTS, NetworkSettings

_BLOCKS = 8  # the VPC in eighths: the first six are private subnets, the last one is shared by the public ones


@dataclass(frozen=True)
class Network:
    """The network's subnets: ``private`` ones by zone, ``public`` ones in the order of the zones."""

    vpc_id: pulumi.Input[str]
    private: Mapping[str, pulumi.Input[str]]
    public: Sequence[pulumi.Input[str]]

    def subnets(self, zones: Sequence[str]) -> list[pulumi.Input[str]]:
        """Return the private subnets in these zones; all of them where none is named."""
        return [self.private[zone] for zone in zones or self.private]


@dataclass(frozen=True)
class SubnetPlan:
    """The addresses of one zone."""

    zone: str
    private: str
    public: str


def subnet_plan(cidr: str, zones: Sequence[str]) -> list[SubnetPlan]:
    """Give each zone an eighth of the network for pods and nodes, and a sixty-fourth for what is public. A zone keeps
    its addresses when another one is added behind it. Raises ``ValueError`` for more than six zones."""
    eighths = list(ipaddress.IPv4Network(cidr).subnets(prefixlen_diff=3))
    public = list(eighths[-1].subnets(prefixlen_diff=3))
    if len(zones) > _BLOCKS - 2:
        raise ValueError(f"network.zones: has {len(zones)}, allowed are at most {_BLOCKS - 2}")
    return [SubnetPlan(zone, str(eighths[i]), str(public[i])) for i, zone in enumerate(zones)]


def adopted(settings: NetworkSettings) -> Network:
    """Return the existing network named in the stack file; nothing of it is changed."""
    assert settings.adopt is not None
    return Network(settings.adopt.vpc, dict(settings.adopt.subnets), settings.adopt.public_subnets)


class AwsNetwork(pulumi.ComponentResource):
    """A VPC with one private and one public subnet per zone, NAT gateways, and a gateway endpoint for S3.

    At rest it costs the NAT gateways by the hour and by the GB (weights and image layers bypass them: they are in S3),
    and with ``private_endpoints`` nine endpoints by the hour and zone. No security group lets anything in but HTTPS
    from the VPC to those endpoints.
    """

    network: Network

    def __init__(
        self,
        name: str,
        region: str,
        settings: NetworkSettings,
        nat: Literal["single", "perZone"],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:platforms:AwsNetwork", f"{name}-network", None, opts)
        self._mine = pulumi.ResourceOptions(parent=self)
        self._stack = name
        vpc = aws.ec2.Vpc(
            f"{name}-vpc",
            cidr_block=settings.cidr,
            enable_dns_support=True,
            enable_dns_hostnames=True,
            tags={"Name": name},
            opts=self._mine,
        )
        # every VPC's default group lets its members talk to each other: managed here, it has no rule
        aws.ec2.DefaultSecurityGroup(f"{name}-default", vpc_id=vpc.id, ingress=[], egress=[], opts=self._mine)
        door = aws.ec2.InternetGateway(f"{name}-internet", vpc_id=vpc.id, tags={"Name": name}, opts=self._mine)
        plan = subnet_plan(settings.cidr, settings.zones)
        public = {part.zone: self._subnet(vpc, part.zone, part.public, "public", "elb") for part in plan}
        private = {part.zone: self._subnet(vpc, part.zone, part.private, "private", "internal-elb") for part in plan}
        outside = self._table(vpc, "public", {"gateway_id": door.id})
        for zone, subnet in public.items():
            self._join(f"public-{zone}", subnet, outside)
        with_nat = plan if nat == "perZone" else plan[:1]
        gates = {part.zone: self._nat(part.zone, public[part.zone], door) for part in with_nat}
        tables = {zone: self._table(vpc, f"private-{zone}", {"nat_gateway_id": g.id}) for zone, g in gates.items()}
        for zone, subnet in private.items():
            self._join(f"private-{zone}", subnet, tables.get(zone, next(iter(tables.values()))))
        aws.ec2.VpcEndpoint(
            f"{name}-s3",
            vpc_id=vpc.id,
            service_name=f"com.amazonaws.{region}.s3",
            vpc_endpoint_type="Gateway",
            route_table_ids=[table.id for table in tables.values()],
            opts=self._mine,
        )
        if settings.private_endpoints:
            self._endpoints(vpc, region, settings.cidr, [subnet.id for subnet in private.values()])
        self.network = Network(
            vpc.id, {zone: s.id for zone, s in private.items()}, [subnet.id for subnet in public.values()]
        )
        self.register_outputs({"vpcId": vpc.id})

    def _subnet(self, vpc: aws.ec2.Vpc, zone: str, cidr: str, kind: str, role: str) -> aws.ec2.Subnet:
        # by the role tag the load balancer controller finds subnets for Ingresses other than the stack's own
        return aws.ec2.Subnet(
            f"{self._stack}-{kind}-{zone}",
            vpc_id=vpc.id,
            availability_zone=zone,
            cidr_block=cidr,
            map_public_ip_on_launch=False,
            tags={"Name": f"{self._stack}-{kind}-{zone}", f"kubernetes.io/role/{role}": "1"},
            opts=self._mine,
        )

    def _nat(self, zone: str, subnet: aws.ec2.Subnet, door: aws.ec2.InternetGateway) -> aws.ec2.NatGateway:
        address = aws.ec2.Eip(f"{self._stack}-nat-{zone}", domain="vpc", opts=self._mine)
        return aws.ec2.NatGateway(
            f"{self._stack}-nat-{zone}",
            allocation_id=address.id,
            subnet_id=subnet.id,
            tags={"Name": f"{self._stack}-{zone}"},
            opts=pulumi.ResourceOptions(parent=self, depends_on=[door]),
        )

    def _table(self, vpc: aws.ec2.Vpc, kind: str, way_out: Mapping[str, pulumi.Input[str]]) -> aws.ec2.RouteTable:
        name = f"{self._stack}-{kind}"
        table = aws.ec2.RouteTable(name, vpc_id=vpc.id, tags={"Name": name}, opts=self._mine)
        # a separate route: the S3 endpoint adds routes to the table, which an inline list would remove again
        aws.ec2.Route(
            name, route_table_id=table.id, destination_cidr_block="0.0.0.0/0", opts=self._mine, **dict(way_out)
        )
        return table

    def _join(self, name: str, subnet: aws.ec2.Subnet, table: aws.ec2.RouteTable) -> None:
        aws.ec2.RouteTableAssociation(
            f"{self._stack}-{name}", subnet_id=subnet.id, route_table_id=table.id, opts=self._mine
        )

    def _endpoints(self, vpc: aws.ec2.Vpc, region: str, cidr: str, subnets: list[pulumi.Output[str]]) -> None:
        group = aws.ec2.SecurityGroup(
            f"{self._stack}-endpoints",
            vpc_id=vpc.id,
            description="HTTPS from the VPC to the interface endpoints",
            ingress=[{"protocol": "tcp", "from_port": 443, "to_port": 443, "cidr_blocks": [cidr]}],
            opts=self._mine,
        )
        for service in INTERFACE_ENDPOINTS:
            aws.ec2.VpcEndpoint(
                f"{self._stack}-{service.replace('.', '-')}",
                vpc_id=vpc.id,
                service_name=f"com.amazonaws.{region}.{service}",
                vpc_endpoint_type="Interface",
                private_dns_enabled=True,
                subnet_ids=subnets,
                security_group_ids=[group.id],
                opts=self._mine,
            )
