{{/*
Parts of the admission policies. What lets everything pass is a match condition, which is asked first and cannot fail: an
error in a rule then never holds up the operator, a deleted database or a deleted namespace.
*/}}

{{/* Users as a list of CEL. Takes a list of names. */}}
{{- define "skerry.admission.users" -}}
[{{- range $i, $user := . }}{{ if $i }}, {{ end }}'{{ $user }}'{{- end }}]
{{- end -}}

{{/* False for the operator and for whom the values exempt. */}}
{{- define "skerry.admission.notExempt" -}}
{{- $operator := printf "system:serviceaccount:%s:%s" .Release.Namespace (include "skerry.serviceAccountName" .) -}}
!(request.userInfo.username in {{ include "skerry.admission.users" (prepend .Values.admissionPolicies.exemptUsers $operator) }})
{{- end -}}

{{/*
False for deletions by Kubernetes itself: of what a deleted owner leaves, and of all in a deleted namespace. The last name is
that of a controller manager whose controllers have no service accounts. No other controller is among them: a
horizontal pod autoscaler, say, would scale a StatefulSet behind the operator's back.
*/}}
{{- define "skerry.admission.notTheWayOut" -}}
!(request.operation == 'DELETE' && request.userInfo.username in {{ include "skerry.admission.users" (list
  "system:serviceaccount:kube-system:generic-garbage-collector"
  "system:serviceaccount:kube-system:namespace-controller"
  "system:kube-controller-manager"
) }})
{{- end -}}

{{/* True where the namespace goes away, and all in it. */}}
{{- define "skerry.admission.namespaceLeaves" -}}
has(namespaceObject.metadata.deletionTimestamp)
{{- end -}}

{{/* True where the namespace was marked. */}}
{{- define "skerry.admission.namespaceMarked" -}}
(has(namespaceObject.metadata.annotations) && 'skerry.io/break-glass' in namespaceObject.metadata.annotations)
{{- end -}}

{{/* True where the object was marked, before or with this request. */}}
{{- define "skerry.admission.objectMarked" -}}
(has(oldObject.metadata.annotations) && 'skerry.io/break-glass' in oldObject.metadata.annotations) ||
(object != null && has(object.metadata.annotations) && 'skerry.io/break-glass' in object.metadata.annotations)
{{- end -}}

{{/* True where the label that ties the object to its database stays as it is. */}}
{{- define "skerry.admission.keepsDatabase" -}}
!has(oldObject.metadata.labels) || !('skerry.io/database' in oldObject.metadata.labels) ||
(has(object.metadata.labels) && 'skerry.io/database' in object.metadata.labels &&
object.metadata.labels['skerry.io/database'] == oldObject.metadata.labels['skerry.io/database'])
{{- end -}}

{{/* True where the label with the id of the claim's database stays as it is. */}}
{{- define "skerry.admission.keepsClusterId" -}}
!has(oldObject.metadata.labels) || !('skerry.io/cluster-id' in oldObject.metadata.labels) ||
(has(object.metadata.labels) && 'skerry.io/cluster-id' in object.metadata.labels &&
object.metadata.labels['skerry.io/cluster-id'] == oldObject.metadata.labels['skerry.io/cluster-id'])
{{- end -}}

{{/* The name of the object's database. */}}
{{- define "skerry.admission.database" -}}
has(oldObject.metadata.labels) && 'skerry.io/database' in oldObject.metadata.labels ?
oldObject.metadata.labels['skerry.io/database'] : object.metadata.labels['skerry.io/database']
{{- end -}}

{{/* The end of a denial's message, as CEL. Takes what is annotated, as CEL. */}}
{{- define "skerry.admission.breakGlass" -}}
' To do it all the same, at the risk of losing data: kubectl annotate -n ' + request.namespace + ' ' + {{ . }} + ' skerry.io/break-glass=REASON'
{{- end -}}

{{/* What goes into the audit log where something passes because of a mark. */}}
{{- define "skerry.admission.auditAnnotations" -}}
- key: break-glass
  valueExpression: >-
    variables.marked ? request.operation + ' of ' + request.resource.resource + ' ' + request.namespace + '/' +
    oldObject.metadata.name + ' by ' + request.userInfo.username : ''
{{- end -}}

{{/* The binding of a policy. Takes a dict of `root` and `name`. */}}
{{- define "skerry.admission.binding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  labels:
    {{- include "skerry.labels" .root | nindent 4 }}
spec:
  policyName: {{ .name }}
  validationActions:
    {{- toYaml .root.Values.admissionPolicies.actions | nindent 4 }}
  {{- with include "skerry.watchNamespace" .root }}
  matchResources:
    namespaceSelector:
      matchLabels:
        kubernetes.io/metadata.name: {{ . }}
  {{- end }}
{{- end -}}
