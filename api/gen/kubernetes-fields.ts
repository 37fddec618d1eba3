/**
 * Generated: the field table of the Kubernetes types that Proxima serves. One line per type: name, then its fields as
 * `name=number` + type (`s` string, `i` integer, `b` boolean, `d` number, `y` bytes, `:T` a type, `:.T` one of the same package)
 * + `*` list, `{}` map, `@` inlined, `?` pointer (a zero is kept), `!` always written, `+` required, `~` patch strategy, `^` merge key.
 */
export const KUBERNETES_FIELDS = `apps.v1.Deployment metadata=1:meta.v1.ObjectMeta spec=2:.DeploymentSpec status=3:.DeploymentStatus
apps.v1.DeploymentCondition type=1s!+ status=2s!+ lastUpdateTime=6:meta.v1.Time lastTransitionTime=7:meta.v1.Time reason=4s message=5s
apps.v1.DeploymentSpec replicas=1i? selector=2:meta.v1.LabelSelector?+ template=3:core.v1.PodTemplateSpec!+ strategy=4:.DeploymentStrategy~r minReadySeconds=5i revisionHistoryLimit=6i? paused=7b progressDeadlineSeconds=9i?
apps.v1.DeploymentStatus observedGeneration=1i replicas=2i updatedReplicas=3i readyReplicas=7i availableReplicas=4i unavailableReplicas=5i conditions=6:.DeploymentCondition*~m^type collisionCount=8i?
apps.v1.DeploymentStrategy type=1s rollingUpdate=2:.RollingUpdateDeployment?
apps.v1.ReplicaSet metadata=1:meta.v1.ObjectMeta spec=2:.ReplicaSetSpec status=3:.ReplicaSetStatus
apps.v1.ReplicaSetCondition type=1s!+ status=2s!+ lastTransitionTime=3:meta.v1.Time reason=4s message=5s
apps.v1.ReplicaSetSpec replicas=1i? minReadySeconds=4i selector=2:meta.v1.LabelSelector?+ template=3:core.v1.PodTemplateSpec
apps.v1.ReplicaSetStatus replicas=1i!+ fullyLabeledReplicas=2i readyReplicas=4i availableReplicas=5i observedGeneration=3i conditions=6:.ReplicaSetCondition*~m^type
apps.v1.RollingUpdateDeployment maxUnavailable=1:intstr.IntOrString? maxSurge=2:intstr.IntOrString?
authentication.v1.ExtraValue items=1s*
authentication.v1.SelfSubjectReview metadata=1:meta.v1.ObjectMeta status=2:.SelfSubjectReviewStatus
authentication.v1.SelfSubjectReviewStatus userInfo=1:.UserInfo
authentication.v1.UserInfo username=1s uid=2s groups=3s* extra=4:.ExtraValue{}
authorization.v1.FieldSelectorAttributes rawSelector=1s requirements=2:meta.v1.FieldSelectorRequirement*
authorization.v1.LabelSelectorAttributes rawSelector=1s requirements=2:meta.v1.LabelSelectorRequirement*
authorization.v1.NonResourceAttributes path=1s verb=2s
authorization.v1.NonResourceRule verbs=1s*!+ nonResourceURLs=2s*
authorization.v1.ResourceAttributes namespace=1s verb=2s group=3s version=4s resource=5s subresource=6s name=7s fieldSelector=8:.FieldSelectorAttributes? labelSelector=9:.LabelSelectorAttributes?
authorization.v1.ResourceRule verbs=1s*!+ apiGroups=2s* resources=3s* resourceNames=4s*
authorization.v1.SelfSubjectAccessReview metadata=1:meta.v1.ObjectMeta spec=2:.SelfSubjectAccessReviewSpec!+ status=3:.SubjectAccessReviewStatus
authorization.v1.SelfSubjectAccessReviewSpec resourceAttributes=1:.ResourceAttributes? nonResourceAttributes=2:.NonResourceAttributes?
authorization.v1.SelfSubjectRulesReview metadata=1:meta.v1.ObjectMeta spec=2:.SelfSubjectRulesReviewSpec!+ status=3:.SubjectRulesReviewStatus
authorization.v1.SelfSubjectRulesReviewSpec namespace=1s
authorization.v1.SubjectAccessReviewStatus allowed=1b!+ denied=4b reason=2s evaluationError=3s
authorization.v1.SubjectRulesReviewStatus resourceRules=1:.ResourceRule*!+ nonResourceRules=2:.NonResourceRule*!+ incomplete=3b!+ evaluationError=4s
autoscaling.v1.Scale metadata=1:meta.v1.ObjectMeta spec=2:.ScaleSpec status=3:.ScaleStatus
autoscaling.v1.ScaleSpec replicas=1i
autoscaling.v1.ScaleStatus replicas=1i!+ selector=2s
coordination.v1.Lease metadata=1:meta.v1.ObjectMeta spec=2:.LeaseSpec
coordination.v1.LeaseSpec holderIdentity=1s? leaseDurationSeconds=2i? acquireTime=3:meta.v1.MicroTime? renewTime=4:meta.v1.MicroTime? leaseTransitions=5i? strategy=6s? preferredHolder=7s?
core.v1.AWSElasticBlockStoreVolumeSource volumeID=1s!+ fsType=2s partition=3i readOnly=4b
core.v1.Affinity nodeAffinity=1:.NodeAffinity? podAffinity=2:.PodAffinity? podAntiAffinity=3:.PodAntiAffinity?
core.v1.AppArmorProfile type=1s!+ localhostProfile=2s?
core.v1.AttachedVolume name=1s!+ devicePath=2s!+
core.v1.AzureDiskVolumeSource diskName=1s!+ diskURI=2s!+ cachingMode=3s? fsType=4s? readOnly=5b? kind=6s?
core.v1.AzureFileVolumeSource secretName=1s!+ shareName=2s!+ readOnly=3b
core.v1.Binding metadata=1:meta.v1.ObjectMeta target=2:.ObjectReference!+
core.v1.CSIVolumeSource driver=1s!+ readOnly=2b? fsType=3s? volumeAttributes=4s{} nodePublishSecretRef=5:.LocalObjectReference?
core.v1.Capabilities add=1s* drop=2s*
core.v1.CephFSVolumeSource monitors=1s*!+ path=2s user=3s secretFile=4s secretRef=5:.LocalObjectReference? readOnly=6b
core.v1.CinderVolumeSource volumeID=1s!+ fsType=2s readOnly=3b secretRef=4:.LocalObjectReference?
core.v1.ClientIPConfig timeoutSeconds=1i?
core.v1.ClusterTrustBundleProjection name=1s? signerName=2s? labelSelector=3:meta.v1.LabelSelector? optional=5b? path=4s!+
core.v1.ConfigMap metadata=1:meta.v1.ObjectMeta immutable=4b? data=2s{} binaryData=3y{}
core.v1.ConfigMapEnvSource localObjectReference=1:.LocalObjectReference@ optional=2b?
core.v1.ConfigMapKeySelector localObjectReference=1:.LocalObjectReference@ key=2s!+ optional=3b?
core.v1.ConfigMapNodeConfigSource namespace=1s!+ name=2s!+ uid=3s resourceVersion=4s kubeletConfigKey=5s!+
core.v1.ConfigMapProjection localObjectReference=1:.LocalObjectReference@ items=2:.KeyToPath* optional=4b?
core.v1.ConfigMapVolumeSource localObjectReference=1:.LocalObjectReference@ items=2:.KeyToPath* defaultMode=3i? optional=4b?
core.v1.Container name=1s!+ image=2s command=3s* args=4s* workingDir=5s ports=6:.ContainerPort*~m^containerPort envFrom=19:.EnvFromSource* env=7:.EnvVar*~m^name resources=8:.ResourceRequirements resizePolicy=23:.ContainerResizePolicy* restartPolicy=24s? volumeMounts=9:.VolumeMount*~m^mountPath volumeDevices=21:.VolumeDevice*~m^devicePath livenessProbe=10:.Probe? readinessProbe=11:.Probe? startupProbe=22:.Probe? lifecycle=12:.Lifecycle? terminationMessagePath=13s terminationMessagePolicy=20s imagePullPolicy=14s securityContext=15:.SecurityContext? stdin=16b stdinOnce=17b tty=18b
core.v1.ContainerImage names=1s*! sizeBytes=2i
core.v1.ContainerPort name=1s hostPort=2i containerPort=3i!+ protocol=4s hostIP=5s
core.v1.ContainerResizePolicy resourceName=1s!+ restartPolicy=2s!+
core.v1.ContainerState waiting=1:.ContainerStateWaiting? running=2:.ContainerStateRunning? terminated=3:.ContainerStateTerminated?
core.v1.ContainerStateRunning startedAt=1:meta.v1.Time
core.v1.ContainerStateTerminated exitCode=1i!+ signal=2i reason=3s message=4s startedAt=5:meta.v1.Time finishedAt=6:meta.v1.Time containerID=7s
core.v1.ContainerStateWaiting reason=1s message=2s
core.v1.ContainerStatus name=1s!+ state=2:.ContainerState lastState=3:.ContainerState ready=4b!+ restartCount=5i!+ image=6s!+ imageID=7s!+ containerID=8s started=9b? allocatedResources=10:resource.Quantity{} resources=11:.ResourceRequirements? volumeMounts=12:.VolumeMountStatus*~m^mountPath user=13:.ContainerUser? allocatedResourcesStatus=14:.ResourceStatus*~m^name
core.v1.ContainerUser linux=1:.LinuxContainerUser?
core.v1.DaemonEndpoint Port=1i!+
core.v1.DownwardAPIProjection items=1:.DownwardAPIVolumeFile*
core.v1.DownwardAPIVolumeFile path=1s!+ fieldRef=2:.ObjectFieldSelector? resourceFieldRef=3:.ResourceFieldSelector? mode=4i?
core.v1.DownwardAPIVolumeSource items=1:.DownwardAPIVolumeFile* defaultMode=2i?
core.v1.EmptyDirVolumeSource medium=1s sizeLimit=2:resource.Quantity?
core.v1.EnvFromSource prefix=1s configMapRef=2:.ConfigMapEnvSource? secretRef=3:.SecretEnvSource?
core.v1.EnvVar name=1s!+ value=2s valueFrom=3:.EnvVarSource?
core.v1.EnvVarSource fieldRef=1:.ObjectFieldSelector? resourceFieldRef=2:.ResourceFieldSelector? configMapKeyRef=3:.ConfigMapKeySelector? secretKeyRef=4:.SecretKeySelector?
core.v1.EphemeralContainer ephemeralContainerCommon=1:.EphemeralContainerCommon@ targetContainerName=2s
core.v1.EphemeralContainerCommon name=1s! image=2s command=3s* args=4s* workingDir=5s ports=6:.ContainerPort* envFrom=19:.EnvFromSource* env=7:.EnvVar* resources=8:.ResourceRequirements resizePolicy=23:.ContainerResizePolicy* restartPolicy=24s? volumeMounts=9:.VolumeMount* volumeDevices=21:.VolumeDevice* livenessProbe=10:.Probe? readinessProbe=11:.Probe? startupProbe=22:.Probe? lifecycle=12:.Lifecycle? terminationMessagePath=13s terminationMessagePolicy=20s imagePullPolicy=14s securityContext=15:.SecurityContext? stdin=16b stdinOnce=17b tty=18b
core.v1.EphemeralVolumeSource volumeClaimTemplate=1:.PersistentVolumeClaimTemplate?
core.v1.Event metadata=1:meta.v1.ObjectMeta!+ involvedObject=2:.ObjectReference!+ reason=3s message=4s source=5:.EventSource firstTimestamp=6:meta.v1.Time lastTimestamp=7:meta.v1.Time count=8i type=9s eventTime=10:meta.v1.MicroTime series=11:.EventSeries? action=12s related=13:.ObjectReference? reportingComponent=14s! reportingInstance=15s!
core.v1.EventSeries count=1i lastObservedTime=2:meta.v1.MicroTime
core.v1.EventSource component=1s host=2s
core.v1.ExecAction command=1s*
core.v1.FCVolumeSource targetWWNs=1s* lun=2i? fsType=3s readOnly=4b wwids=5s*
core.v1.FlexVolumeSource driver=1s!+ fsType=2s secretRef=3:.LocalObjectReference? readOnly=4b options=5s{}
core.v1.FlockerVolumeSource datasetName=1s datasetUUID=2s
core.v1.GCEPersistentDiskVolumeSource pdName=1s!+ fsType=2s partition=3i readOnly=4b
core.v1.GRPCAction port=1i!+ service=2s?
core.v1.GitRepoVolumeSource repository=1s!+ revision=2s directory=3s
core.v1.GlusterfsVolumeSource endpoints=1s!+ path=2s!+ readOnly=3b
core.v1.HTTPGetAction path=1s port=2:intstr.IntOrString!+ host=3s scheme=4s httpHeaders=5:.HTTPHeader*
core.v1.HTTPHeader name=1s!+ value=2s!+
core.v1.HostAlias ip=1s!+ hostnames=2s*
core.v1.HostIP ip=1s!+
core.v1.HostPathVolumeSource path=1s!+ type=2s?
core.v1.ISCSIVolumeSource targetPortal=1s!+ iqn=2s!+ lun=3i!+ iscsiInterface=4s fsType=5s readOnly=6b portals=7s* chapAuthDiscovery=8b chapAuthSession=11b secretRef=10:.LocalObjectReference? initiatorName=12s?
core.v1.ImageVolumeSource reference=1s pullPolicy=2s
core.v1.KeyToPath key=1s!+ path=2s!+ mode=3i?
core.v1.Lifecycle postStart=1:.LifecycleHandler? preStop=2:.LifecycleHandler?
core.v1.LifecycleHandler exec=1:.ExecAction? httpGet=2:.HTTPGetAction? tcpSocket=3:.TCPSocketAction? sleep=4:.SleepAction?
core.v1.LinuxContainerUser uid=1i!+ gid=2i!+ supplementalGroups=3i*
core.v1.LoadBalancerIngress ip=1s hostname=2s ipMode=3s? ports=4:.PortStatus*
core.v1.LoadBalancerStatus ingress=1:.LoadBalancerIngress*
core.v1.LocalObjectReference name=1s
core.v1.NFSVolumeSource server=1s!+ path=2s!+ readOnly=3b
core.v1.Namespace metadata=1:meta.v1.ObjectMeta spec=2:.NamespaceSpec status=3:.NamespaceStatus
core.v1.NamespaceCondition type=1s!+ status=2s!+ lastTransitionTime=4:meta.v1.Time reason=5s message=6s
core.v1.NamespaceSpec finalizers=1s*
core.v1.NamespaceStatus phase=1s conditions=2:.NamespaceCondition*~m^type
core.v1.Node metadata=1:meta.v1.ObjectMeta spec=2:.NodeSpec status=3:.NodeStatus
core.v1.NodeAddress type=1s!+ address=2s!+
core.v1.NodeAffinity requiredDuringSchedulingIgnoredDuringExecution=1:.NodeSelector? preferredDuringSchedulingIgnoredDuringExecution=2:.PreferredSchedulingTerm*
core.v1.NodeCondition type=1s!+ status=2s!+ lastHeartbeatTime=3:meta.v1.Time lastTransitionTime=4:meta.v1.Time reason=5s message=6s
core.v1.NodeConfigSource configMap=2:.ConfigMapNodeConfigSource?
core.v1.NodeConfigStatus assigned=1:.NodeConfigSource? active=2:.NodeConfigSource? lastKnownGood=3:.NodeConfigSource? error=4s
core.v1.NodeDaemonEndpoints kubeletEndpoint=1:.DaemonEndpoint
core.v1.NodeFeatures supplementalGroupsPolicy=1b?
core.v1.NodeRuntimeHandler name=1s! features=2:.NodeRuntimeHandlerFeatures?
core.v1.NodeRuntimeHandlerFeatures recursiveReadOnlyMounts=1b? userNamespaces=2b?
core.v1.NodeSelector nodeSelectorTerms=1:.NodeSelectorTerm*!+
core.v1.NodeSelectorRequirement key=1s!+ operator=2s!+ values=3s*
core.v1.NodeSelectorTerm matchExpressions=1:.NodeSelectorRequirement* matchFields=2:.NodeSelectorRequirement*
core.v1.NodeSpec podCIDR=1s podCIDRs=7s*~m providerID=3s unschedulable=4b taints=5:.Taint* configSource=6:.NodeConfigSource? externalID=2s
core.v1.NodeStatus capacity=1:resource.Quantity{} allocatable=2:resource.Quantity{} phase=3s conditions=4:.NodeCondition*~m^type addresses=5:.NodeAddress*~m^type daemonEndpoints=6:.NodeDaemonEndpoints nodeInfo=7:.NodeSystemInfo images=8:.ContainerImage* volumesInUse=9s* volumesAttached=10:.AttachedVolume* config=11:.NodeConfigStatus? runtimeHandlers=12:.NodeRuntimeHandler* features=13:.NodeFeatures?
core.v1.NodeSystemInfo machineID=1s!+ systemUUID=2s!+ bootID=3s!+ kernelVersion=4s!+ osImage=5s!+ containerRuntimeVersion=6s!+ kubeletVersion=7s!+ kubeProxyVersion=8s!+ operatingSystem=9s!+ architecture=10s!+
core.v1.ObjectFieldSelector apiVersion=1s fieldPath=2s!+
core.v1.ObjectReference kind=1s namespace=2s name=3s uid=4s apiVersion=5s resourceVersion=6s fieldPath=7s
core.v1.PersistentVolumeClaimSpec accessModes=1s* selector=4:meta.v1.LabelSelector? resources=2:.VolumeResourceRequirements volumeName=3s storageClassName=5s? volumeMode=6s? dataSource=7:.TypedLocalObjectReference? dataSourceRef=8:.TypedObjectReference? volumeAttributesClassName=9s?
core.v1.PersistentVolumeClaimTemplate metadata=1:meta.v1.ObjectMeta spec=2:.PersistentVolumeClaimSpec!+
core.v1.PersistentVolumeClaimVolumeSource claimName=1s!+ readOnly=2b
core.v1.PhotonPersistentDiskVolumeSource pdID=1s!+ fsType=2s
core.v1.Pod metadata=1:meta.v1.ObjectMeta spec=2:.PodSpec status=3:.PodStatus
core.v1.PodAffinity requiredDuringSchedulingIgnoredDuringExecution=1:.PodAffinityTerm* preferredDuringSchedulingIgnoredDuringExecution=2:.WeightedPodAffinityTerm*
core.v1.PodAffinityTerm labelSelector=1:meta.v1.LabelSelector? namespaces=2s* topologyKey=3s!+ namespaceSelector=4:meta.v1.LabelSelector? matchLabelKeys=5s* mismatchLabelKeys=6s*
core.v1.PodAntiAffinity requiredDuringSchedulingIgnoredDuringExecution=1:.PodAffinityTerm* preferredDuringSchedulingIgnoredDuringExecution=2:.WeightedPodAffinityTerm*
core.v1.PodCondition type=1s!+ status=2s!+ lastProbeTime=3:meta.v1.Time lastTransitionTime=4:meta.v1.Time reason=5s message=6s
core.v1.PodDNSConfig nameservers=1s* searches=2s* options=3:.PodDNSConfigOption*
core.v1.PodDNSConfigOption name=1s value=2s?
core.v1.PodIP ip=1s!+
core.v1.PodOS name=1s!+
core.v1.PodReadinessGate conditionType=1s!+
core.v1.PodResourceClaim name=1s!+ resourceClaimName=3s? resourceClaimTemplateName=4s?
core.v1.PodResourceClaimStatus name=1s!+ resourceClaimName=2s?
core.v1.PodSchedulingGate name=1s!+
core.v1.PodSecurityContext seLinuxOptions=1:.SELinuxOptions? windowsOptions=8:.WindowsSecurityContextOptions? runAsUser=2i? runAsGroup=6i? runAsNonRoot=3b? supplementalGroups=4i* supplementalGroupsPolicy=12s? fsGroup=5i? sysctls=7:.Sysctl* fsGroupChangePolicy=9s? seccompProfile=10:.SeccompProfile? appArmorProfile=11:.AppArmorProfile? seLinuxChangePolicy=13s?
core.v1.PodSpec volumes=1:.Volume*~mr^name initContainers=20:.Container*~m^name containers=2:.Container*!+~m^name ephemeralContainers=34:.EphemeralContainer*~m^name restartPolicy=3s terminationGracePeriodSeconds=4i? activeDeadlineSeconds=5i? dnsPolicy=6s nodeSelector=7s{} serviceAccountName=8s serviceAccount=9s automountServiceAccountToken=21b? nodeName=10s hostNetwork=11b hostPID=12b hostIPC=13b shareProcessNamespace=27b? securityContext=14:.PodSecurityContext? imagePullSecrets=15:.LocalObjectReference*~m^name hostname=16s subdomain=17s affinity=18:.Affinity? schedulerName=19s tolerations=22:.Toleration* hostAliases=23:.HostAlias*~m^ip priorityClassName=24s priority=25i? dnsConfig=26:.PodDNSConfig? readinessGates=28:.PodReadinessGate* runtimeClassName=29s? enableServiceLinks=30b? preemptionPolicy=31s? overhead=32:resource.Quantity{} topologySpreadConstraints=33:.TopologySpreadConstraint*~m^topologyKey setHostnameAsFQDN=35b? os=36:.PodOS? hostUsers=37b? schedulingGates=38:.PodSchedulingGate*~m^name resourceClaims=39:.PodResourceClaim*~mr^name resources=40:.ResourceRequirements?
core.v1.PodStatus phase=1s conditions=2:.PodCondition*~m^type message=3s reason=4s nominatedNodeName=11s hostIP=5s hostIPs=16:.HostIP*~m^ip podIP=6s podIPs=12:.PodIP*~m^ip startTime=7:meta.v1.Time? initContainerStatuses=10:.ContainerStatus* containerStatuses=8:.ContainerStatus* qosClass=9s ephemeralContainerStatuses=13:.ContainerStatus* resize=14s resourceClaimStatuses=15:.PodResourceClaimStatus*~mr^name
core.v1.PodTemplateSpec metadata=1:meta.v1.ObjectMeta spec=2:.PodSpec
core.v1.PortStatus port=1i!+ protocol=2s!+ error=3s?
core.v1.PortworxVolumeSource volumeID=1s!+ fsType=2s readOnly=3b
core.v1.PreferredSchedulingTerm weight=1i!+ preference=2:.NodeSelectorTerm!+
core.v1.Probe handler=1:.ProbeHandler@ initialDelaySeconds=2i timeoutSeconds=3i periodSeconds=4i successThreshold=5i failureThreshold=6i terminationGracePeriodSeconds=7i?
core.v1.ProbeHandler exec=1:.ExecAction? httpGet=2:.HTTPGetAction? tcpSocket=3:.TCPSocketAction? grpc=4:.GRPCAction?
core.v1.ProjectedVolumeSource sources=1:.VolumeProjection*! defaultMode=2i?
core.v1.QuobyteVolumeSource registry=1s!+ volume=2s!+ readOnly=3b user=4s group=5s tenant=6s
core.v1.RBDVolumeSource monitors=1s*!+ image=2s!+ fsType=3s pool=4s user=5s keyring=6s secretRef=7:.LocalObjectReference? readOnly=8b
core.v1.ResourceClaim name=1s!+ request=2s
core.v1.ResourceFieldSelector containerName=1s resource=2s!+ divisor=3:resource.Quantity
core.v1.ResourceHealth resourceID=1s!+ health=2s
core.v1.ResourceRequirements limits=1:resource.Quantity{} requests=2:resource.Quantity{} claims=3:.ResourceClaim*
core.v1.ResourceStatus name=1s!+ resources=2:.ResourceHealth*
core.v1.SELinuxOptions user=1s role=2s type=3s level=4s
core.v1.ScaleIOVolumeSource gateway=1s!+ system=2s!+ secretRef=3:.LocalObjectReference?+ sslEnabled=4b protectionDomain=5s storagePool=6s storageMode=7s volumeName=8s fsType=9s readOnly=10b
core.v1.SeccompProfile type=1s!+ localhostProfile=2s?
core.v1.Secret metadata=1:meta.v1.ObjectMeta immutable=5b? data=2y{} stringData=4s{} type=3s
core.v1.SecretEnvSource localObjectReference=1:.LocalObjectReference@ optional=2b?
core.v1.SecretKeySelector localObjectReference=1:.LocalObjectReference@ key=2s!+ optional=3b?
core.v1.SecretProjection localObjectReference=1:.LocalObjectReference@ items=2:.KeyToPath* optional=4b?
core.v1.SecretVolumeSource secretName=1s items=2:.KeyToPath* defaultMode=3i? optional=4b?
core.v1.SecurityContext capabilities=1:.Capabilities? privileged=2b? seLinuxOptions=3:.SELinuxOptions? windowsOptions=10:.WindowsSecurityContextOptions? runAsUser=4i? runAsGroup=8i? runAsNonRoot=5b? readOnlyRootFilesystem=6b? allowPrivilegeEscalation=7b? procMount=9s? seccompProfile=11:.SeccompProfile? appArmorProfile=12:.AppArmorProfile?
core.v1.Service metadata=1:meta.v1.ObjectMeta spec=2:.ServiceSpec status=3:.ServiceStatus
core.v1.ServiceAccount metadata=1:meta.v1.ObjectMeta secrets=2:.ObjectReference*~m^name imagePullSecrets=3:.LocalObjectReference* automountServiceAccountToken=4b?
core.v1.ServiceAccountTokenProjection audience=1s expirationSeconds=2i? path=3s!+
core.v1.ServicePort name=1s protocol=2s appProtocol=6s? port=3i!+ targetPort=4:intstr.IntOrString nodePort=5i
core.v1.ServiceSpec ports=1:.ServicePort*~m^port selector=2s{} clusterIP=3s clusterIPs=18s* type=4s externalIPs=5s* sessionAffinity=7s loadBalancerIP=8s loadBalancerSourceRanges=9s* externalName=10s externalTrafficPolicy=11s healthCheckNodePort=12i publishNotReadyAddresses=13b sessionAffinityConfig=14:.SessionAffinityConfig? ipFamilies=19s* ipFamilyPolicy=17s? allocateLoadBalancerNodePorts=20b? loadBalancerClass=21s? internalTrafficPolicy=22s? trafficDistribution=23s?
core.v1.ServiceStatus loadBalancer=1:.LoadBalancerStatus conditions=2:meta.v1.Condition*~m^type
core.v1.SessionAffinityConfig clientIP=1:.ClientIPConfig?
core.v1.SleepAction seconds=1i!+
core.v1.StorageOSVolumeSource volumeName=1s volumeNamespace=2s fsType=3s readOnly=4b secretRef=5:.LocalObjectReference?
core.v1.Sysctl name=1s!+ value=2s!+
core.v1.TCPSocketAction port=1:intstr.IntOrString!+ host=2s
core.v1.Taint key=1s!+ value=2s effect=3s!+ timeAdded=4:meta.v1.Time?
core.v1.Toleration key=1s operator=2s value=3s effect=4s tolerationSeconds=5i?
core.v1.TopologySpreadConstraint maxSkew=1i!+ topologyKey=2s!+ whenUnsatisfiable=3s!+ labelSelector=4:meta.v1.LabelSelector? minDomains=5i? nodeAffinityPolicy=6s? nodeTaintsPolicy=7s? matchLabelKeys=8s*
core.v1.TypedLocalObjectReference apiGroup=1s? kind=2s!+ name=3s!+
core.v1.TypedObjectReference apiGroup=1s? kind=2s!+ name=3s!+ namespace=4s?
core.v1.Volume name=1s!+ volumeSource=2:.VolumeSource@
core.v1.VolumeDevice name=1s!+ devicePath=2s!+
core.v1.VolumeMount name=1s!+ readOnly=2b recursiveReadOnly=7s? mountPath=3s!+ subPath=4s mountPropagation=5s? subPathExpr=6s
core.v1.VolumeMountStatus name=1s!+ mountPath=2s!+ readOnly=3b recursiveReadOnly=4s?
core.v1.VolumeProjection secret=1:.SecretProjection? downwardAPI=2:.DownwardAPIProjection? configMap=3:.ConfigMapProjection? serviceAccountToken=4:.ServiceAccountTokenProjection? clusterTrustBundle=5:.ClusterTrustBundleProjection?
core.v1.VolumeResourceRequirements limits=1:resource.Quantity{} requests=2:resource.Quantity{}
core.v1.VolumeSource hostPath=1:.HostPathVolumeSource? emptyDir=2:.EmptyDirVolumeSource? gcePersistentDisk=3:.GCEPersistentDiskVolumeSource? awsElasticBlockStore=4:.AWSElasticBlockStoreVolumeSource? gitRepo=5:.GitRepoVolumeSource? secret=6:.SecretVolumeSource? nfs=7:.NFSVolumeSource? iscsi=8:.ISCSIVolumeSource? glusterfs=9:.GlusterfsVolumeSource? persistentVolumeClaim=10:.PersistentVolumeClaimVolumeSource? rbd=11:.RBDVolumeSource? flexVolume=12:.FlexVolumeSource? cinder=13:.CinderVolumeSource? cephfs=14:.CephFSVolumeSource? flocker=15:.FlockerVolumeSource? downwardAPI=16:.DownwardAPIVolumeSource? fc=17:.FCVolumeSource? azureFile=18:.AzureFileVolumeSource? configMap=19:.ConfigMapVolumeSource? vsphereVolume=20:.VsphereVirtualDiskVolumeSource? quobyte=21:.QuobyteVolumeSource? azureDisk=22:.AzureDiskVolumeSource? photonPersistentDisk=23:.PhotonPersistentDiskVolumeSource? projected=26:.ProjectedVolumeSource? portworxVolume=24:.PortworxVolumeSource? scaleIO=25:.ScaleIOVolumeSource? storageos=27:.StorageOSVolumeSource? csi=28:.CSIVolumeSource? ephemeral=29:.EphemeralVolumeSource? image=30:.ImageVolumeSource?
core.v1.VsphereVirtualDiskVolumeSource volumePath=1s!+ fsType=2s storagePolicyName=3s storagePolicyID=4s
core.v1.WeightedPodAffinityTerm weight=1i!+ podAffinityTerm=2:.PodAffinityTerm!+
core.v1.WindowsSecurityContextOptions gmsaCredentialSpecName=1s? gmsaCredentialSpec=2s? runAsUserName=3s? hostProcess=4b?
meta.v1.Condition type=1s+ status=2s+ observedGeneration=3i lastTransitionTime=4:.Time+ reason=5s+ message=6s+
meta.v1.DeleteOptions gracePeriodSeconds=1i preconditions=2:.Preconditions orphanDependents=3b propagationPolicy=4s dryRun=5s* ignoreStoreReadErrorWithClusterBreakingPotential=6b
meta.v1.FieldSelectorRequirement key=1s+ operator=2s+ values=3s*
meta.v1.LabelSelector matchLabels=1s{} matchExpressions=2:.LabelSelectorRequirement*
meta.v1.LabelSelectorRequirement key=1s+ operator=2s+ values=3s*
meta.v1.ListMeta selfLink=1s resourceVersion=2s continue=3s remainingItemCount=4i
meta.v1.ManagedFieldsEntry manager=1s operation=2s apiVersion=3s time=4:.Time fieldsType=6s fieldsV1=7:.FieldsV1 subresource=8s
meta.v1.ObjectMeta name=1s generateName=2s namespace=3s selfLink=4s uid=5s resourceVersion=6s generation=7i creationTimestamp=8:.Time deletionTimestamp=9:.Time deletionGracePeriodSeconds=10i labels=11s{} annotations=12s{} ownerReferences=13:.OwnerReference*~m^uid finalizers=14s*~m managedFields=17:.ManagedFieldsEntry*
meta.v1.OwnerReference apiVersion=5s+ kind=1s+ name=3s+ uid=4s+ controller=6b blockOwnerDeletion=7b
meta.v1.Preconditions uid=1s resourceVersion=2s
meta.v1.Status metadata=1:.ListMeta status=2s message=3s reason=4s details=5:.StatusDetails code=6i
meta.v1.StatusCause reason=1s message=2s field=3s
meta.v1.StatusDetails name=1s group=2s kind=3s uid=6s causes=4:.StatusCause* retryAfterSeconds=5i
`;
